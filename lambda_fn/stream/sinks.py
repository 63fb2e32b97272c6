"""Sinks: they take the bytes of a response to the client."""

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from starlette.types import Send

from lambda_fn.errors import Unavailable

Headers = list[tuple[bytes, bytes]]


class ResponseBroken(Exception):
    """A response has begun and cannot end in its own form. The server must close the connection."""


def interrupted() -> Unavailable:
    """Return the error of a broken response for a client whose connection goes on."""
    return Unavailable(
        "The response was interrupted here. If it is logged, it goes on, and can be resumed.",
        code="response_interrupted",
    )


class Sink(Protocol):
    """One client's end of a response: `start` once, then `write`s, then `end` or `abort`.

    A method returns when the client can take more. It raises the server's own exception when the
    client has left.
    """

    put: Callable[[bytes], bool] | None
    """Sends a piece of the body at once, without waiting, or None if the server cannot do that.

    It returns False if the client cannot take more now. Then `write` is next, perhaps of an empty
    piece. It raises as `write`.
    """

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        """Send the status and the headers."""
        ...

    def write(self, data: bytes) -> Awaitable[None]:
        """Send a piece of the body."""
        ...

    def end(self, data: bytes) -> Awaitable[None]:
        """Send the last piece of the body, perhaps an empty one."""
        ...

    def abort(self, code: str) -> None:
        """Break off the response, so that no client takes it for complete.

        `code` is the code of the error.
        """
        ...


class AsgiSink:
    """The response of an ASGI application.

    Its methods return the awaitable of `send` itself, which saves one coroutine for each token.
    """

    def __init__(self, send: Send, put: Callable[[bytes], bool] | None = None) -> None:
        """Take the application's `send`, and the runtime's `put`, which other servers lack."""
        self._send = send
        self.put = put

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        """Send the status and the headers."""
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> Awaitable[None]:
        """Send a piece of the body."""
        return self._send({"type": "http.response.body", "body": data, "more_body": True})

    def end(self, data: bytes) -> Awaitable[None]:
        """Send the last piece of the body."""
        return self._send({"type": "http.response.body", "body": data, "more_body": False})

    def abort(self, code: str) -> NoReturn:
        """Raise ResponseBroken.

        ASGI has no message for this. A server closes the connection when its application raises.
        """
        raise ResponseBroken(code)
