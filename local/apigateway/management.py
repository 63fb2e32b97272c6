"""The `@connections` calls: POST, GET and DELETE, signed for `execute-api`.

Source: "Use @connections commands in your backend service" of the API Gateway developer guide;
botocore's model of apigatewaymanagementapi for the errors. A malformed id is unconfirmed.
"""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import unquote

from aiohttp import web

from local import bodies
from local.apigateway.config import Api
from local.apigateway.connections import Connection, Connections, too_long
from local.iam.policy import Need
from local.limits import value

_PATH = re.compile(r"/([^/]+)/@connections/([^/]+)")
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}=?")

Permit = Callable[[web.Request, str, Need], Awaitable[web.Response | None]]
"""Returns the refusal of a signed request that needs a permission of a service, or None."""


def refusal(status: int, kind: str, message: str | None = None) -> web.Response:
    """Return an error of the API."""
    body = {} if message is None else {"message": message}
    return web.Response(
        status=status,
        text=json.dumps(body),
        content_type="application/json",
        headers={"x-amzn-ErrorType": kind},
    )


def is_management(path: str) -> bool:
    """Return whether a path is one of `@connections`."""
    return "/@connections/" in unquote(path)


async def answer(
    request: web.Request,
    path: str,
    api: Api,
    connections: Connections,
    permit: Permit,
    allowed: Callable[[], bool],
    now: Callable[[], float],
) -> web.Response:
    """Answer a call. `allowed` takes a token of the account's rate."""
    match = _PATH.fullmatch(unquote(path))
    if match is None or request.method not in {"POST", "GET", "DELETE"}:
        return refusal(403, "ForbiddenException", "Forbidden")
    stage, key = match[1], match[2]
    resource = api.source(stage, f"{request.method}/@connections/{key}")
    need = Need("execute-api:ManageConnections", resource)
    if (refused := await permit(request, "execute-api", need)) is not None:
        return refused
    if not allowed():
        return refusal(429, "LimitExceededException", "Too Many Requests")
    if stage not in api.stages:
        return refusal(403, "ForbiddenException", "Forbidden")
    if not _ID.fullmatch(key):
        return refusal(400, "BadRequestException", f"Invalid connectionId: {key[:80]}")
    connection = connections.of(api.id, stage, key)
    if connection is None:
        return refusal(410, "GoneException")
    if request.method == "GET":
        return web.json_response(_described(connection))
    if request.method == "DELETE":
        connection.close(1000, "Connection Closed Normally")
        return web.Response(status=204)
    return await _post(request, connection, now())


async def _post(request: web.Request, connection: Connection, now: float) -> web.Response:
    data = await bodies.read(request, value("apigateway_message"))
    if data is None or too_long(data):
        return refusal(413, "PayloadTooLargeException", "Payload too large")
    doomed = connection.doomed
    if doomed is not None and connection.posts >= doomed.after:
        doomed.landed()
        connection.lose()
        return refusal(410, "GoneException")
    if connection.ended.done():  # it has ended while the body came
        return refusal(410, "GoneException")
    if connection.full:
        return refusal(429, "LimitExceededException", "The client does not read")
    connection.posts += 1
    connection.active = now
    connection.send(data)
    return web.Response(status=200)


def _described(connection: Connection) -> dict[str, object]:
    peer = connection.peer
    active = peer.connected + connection.active - connection.opened

    def iso(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    identity = {"sourceIp": peer.source_ip, "userAgent": peer.user_agent}
    return {
        "connectedAt": iso(peer.connected),
        "identity": identity,
        "lastActiveAt": iso(active),
    }
