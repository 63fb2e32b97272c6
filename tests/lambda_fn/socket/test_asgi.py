"""The handshake: who may open a socket, and what others are told."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.ids import new_key
from lambda_fn.socket.service import MAX_SOCKETS
from tests.support.asgi_sockets import CREATE, Connect, Socket

pytestmark = pytest.mark.usefixtures("account")
EXTENSION: dict[str, Any] = {"websocket.http.response": {}}


async def rejection(socket: Socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return the status, the headers and the error of the handshake's response."""
    start, body = await socket.message(), await socket.message()
    assert start["type"] == "websocket.http.response.start"
    assert body["type"] == "websocket.http.response.body"
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["x-request-id"].startswith("req_")
    return start["status"], headers, json.loads(body["body"])["error"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"key": None}, 401, "invalid_api_key"),
        ({"key": "sk-nonsense"}, 401, "invalid_api_key"),
        ({"key": new_key()}, 401, "invalid_api_key"),
        ({"origin": "wrong"}, 403, "origin_denied"),
        ({"path": "/v1/chat/completions"}, 404, "not_found"),
        ({"path": "/"}, 404, "not_found"),
    ],
)
async def test_refused(connect: Connect, change: dict[str, Any], status: int, code: str) -> None:
    """A handshake without a valid key gets the error that it would get over HTTP."""
    async with connect(**change, extensions=EXTENSION, accepts=False) as socket:
        found, headers, error = await rejection(socket)
    assert (found, error["code"]) == (status, code)
    assert ("www-authenticate" in headers) == (status == 401)


async def test_refused_by_a_plain_server(connect: Connect) -> None:
    """A server that can send no response to a handshake closes the socket, which is a 403."""
    async with connect(key=None, accepts=False) as socket:
        assert await socket.closed() == 1008


@pytest.mark.parametrize("path", ["/v1/responses", "/v1//responses/", "/v1/responses?x=1"])
async def test_paths(connect: Connect, path: str) -> None:
    """A base URL that ends in a slash leads to the socket, too."""
    async with connect(path=path.partition("?")[0]) as socket:
        socket.put(CREATE)
        assert (await socket.events())[-1]["type"] == "response.completed"


async def test_too_many(connect: Connect) -> None:
    """A key has a number of sockets, and one that ends makes room."""
    opened = [connect() for _ in range(MAX_SOCKETS)]
    for socket in opened:
        await socket.__aenter__()
    async with connect(extensions=EXTENSION, accepts=False) as socket:
        status, headers, error = await rejection(socket)
    assert (status, error["code"]) == (429, "websocket_limit_reached")
    assert int(headers["retry-after"]) > 0
    await opened.pop().__aexit__(None, None, None)
    async with connect():
        pass
    for socket in opened:
        await socket.__aexit__(None, None, None)


async def test_http_beside_it(make_connect: Callable[..., Connect]) -> None:
    """The same application serves HTTP."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    app = make_connect().app  # type: ignore[attr-defined]
    headers = [(b"x-sluice-origin-secret", b"o")]
    scope = {"type": "http", "method": "GET", "path": "/health", "headers": headers}
    await app(
        {**scope, "query_string": b"", "root_path": "", "raw_path": b"/health"}, receive, send
    )
    assert sent[0]["status"] in (200, 403)
