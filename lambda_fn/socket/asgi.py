"""Sockets over ASGI: the handshake `GET /v1/responses`, and the application for a server.

It is for servers that keep sockets open, such as uvicorn. Set the server's maximum size of a
message (`ws_max_size`) to that of a request body, so that it reads no more than that.
"""

import re
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError, NotFound
from lambda_fn.http.client import Client
from lambda_fn.http.responses import NOSNIFF, error_response
from lambda_fn.ids import new_request_id
from lambda_fn.settings import Settings
from lambda_fn.socket.service import Service
from lambda_fn.socket.session import Session
from lambda_fn.stream.app import create_app as create_http_app
from lambda_fn.stream.middleware import RESPONSES_PATH

_EXTENSION = "websocket.http.response"


def create_app(
    settings: Settings, client: Client, credentials: Callable[[], Credentials]
) -> ASGIApp:
    """Return the application of the stream function with sockets beside it."""
    http = create_http_app(settings, client, credentials)
    sockets = Sockets(Service(settings, client, credentials))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (sockets if scope["type"] == "websocket" else http)(scope, receive, send)

    return app


class Sockets:
    """Accepts sockets of callers that have a valid key."""

    def __init__(self, service: Service) -> None:
        """Take what the sockets share."""
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket to its end."""
        await receive()  # websocket.connect
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        try:
            path = re.sub("/+", "/", scope["path"]).rstrip("/")
            if path != RESPONSES_PATH:
                raise NotFound(
                    f"There are no sockets at this path. The address is {RESPONSES_PATH}."
                )
            caller = await self._service.connect(headers, scope.get("client"))
        except APIError as error:
            self._service.count(error)
            await _reject(error, scope, send)
            return
        try:
            await send(
                {
                    "type": "websocket.accept",
                    "headers": [(b"x-request-id", f"req_{new_request_id()}".encode())],
                }
            )
            await Session(self._service, caller, headers, receive, send).run()
        finally:
            self._service.disconnect(caller)


async def _reject(error: APIError, scope: Scope, send: Send) -> None:
    """Answer a handshake with an error: its status and body, or 403 if the server has no such
    extension.
    """
    if _EXTENSION not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": error.message[:120]})
        return
    response = error_response(error)
    added = [NOSNIFF, (b"x-request-id", f"req_{new_request_id()}".encode())]
    await send(
        {
            "type": f"{_EXTENSION}.start",
            "status": response.status_code,
            "headers": [*response.raw_headers, *added],
        }
    )
    await send({"type": f"{_EXTENSION}.body", "body": response.body})
