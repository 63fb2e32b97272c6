"""The HTTP server. It listens from the start, says why it is not ready, and drains at the end.

SageMaker kills a container 30 s after SIGTERM. Of these, `DRAIN_SECONDS` are for answers to end by
themselves, `LAST_SECONDS` for the last record of answers that have not ended, and the rest for the
engine to close.
"""

from __future__ import annotations

import asyncio
import socket
from hmac import compare_digest
from typing import TYPE_CHECKING

import uvicorn

from model.answers import error_response
from model.connection import Connection
from model.errors import CallerError, NotReadyError, StartError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from starlette.types import ASGIApp, Receive, Scope, Send

DRAIN_SECONDS = 16
LAST_SECONDS = 4
CLOSE_SECONDS = 4
_CALLER = b"x-sluice-caller"


class Front:
    """The ASGI application, from the start of the process on.

    It answers 503 with `reason` until `app` is set, and then passes requests to `app`. With a
    `caller_token` it refuses every request without that token, on every path.
    """

    def __init__(self, reason: str, caller_token: str | None = None) -> None:
        self.reason = reason
        self._token = caller_token.encode() if caller_token is not None else None
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the token; then pass the request to `app`, or answer 503 with the reason."""
        if self._token is not None and not compare_digest(
            dict(scope["headers"]).get(_CALLER, b""), self._token
        ):
            await error_response(CallerError())(scope, receive, send)
            return
        app = self.app or error_response(NotReadyError(self.reason))
        await app(scope, receive, send)


class Server(uvicorn.Server):
    """A server that drains at the first SIGTERM or SIGINT and ends at the second."""

    def __init__(self, front: Front, listener: socket.socket) -> None:
        config = uvicorn.Config(
            front,
            http=Connection,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,  # the process configures logging: see model.output
            log_level="warning",
            server_header=False,
            # longer than callers keep idle connections, so that callers close them
            timeout_keep_alive=75,
            timeout_graceful_shutdown=LAST_SECONDS,
        )
        super().__init__(config)
        self.front = front
        self.drain: Callable[[float], Awaitable[None]] | None = None
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None

    async def run_until_stopped(self) -> None:
        """Serve until a signal; return when the responses are complete."""
        await self.serve(sockets=[self._listener])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Pass the signal to the loop.

        This runs in the main thread, between any two instructions.
        """
        self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Drain and end. End at once if the server is draining already or has nothing to drain."""
        if self.drain is None or self._draining is not None:
            self.should_exit = True
        else:
            self._draining = asyncio.create_task(self._drained(self.drain))

    async def _drained(self, drain: Callable[[float], Awaitable[None]]) -> None:
        try:
            await drain(DRAIN_SECONDS)
        finally:
            self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, unlike in socket.create_server: asyncio sets TCP_NODELAY only on
    # connections of such a listener, and without it a first token waits 40 ms for the
    # acknowledgement of the headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener
