"""The data plane of WebSocket APIs: connections, routes, limits and faults."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from local.faults.plan import parse
from local.limits import TABLE
from tests.support.websocket_apis import Plane, api, started


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    """Yield a data plane with one API."""
    async with started() as one:
        yield one


def limit(monkeypatch: pytest.MonkeyPatch, name: str, number: float) -> None:
    """Change the value of a row of the table."""
    monkeypatch.setitem(TABLE, name, replace(TABLE[name], value=number))


async def refused(plane: Plane, query: str = "", **options: Any) -> int:
    """Return the status with which a handshake is refused."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await plane.connect(query, **options)
    return caught.value.status


async def closed(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Return the code with which the server closes a connection."""
    async with asyncio.timeout(60):
        message = await socket.receive()
    assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}, message
    return socket.close_code


async def test_connect(plane: Plane) -> None:
    """`$connect` gets headers and query. It chooses the subprotocol, and no other header."""
    plane.functions.answer = lambda _event: {
        "statusCode": 200,
        "headers": {"Sec-WebSocket-Protocol": "b", "X-Other": "c"},
    }
    socket = await plane.connect("?a=1&a=2&b=", protocols=("a", "b"), headers={"X-Own": "d"})
    assert socket.protocol == "b"
    assert "X-Other" not in socket._response.headers
    [event] = plane.functions.invoked
    assert event["headers"]["X-Own"] == "d"
    assert event["headers"]["Sec-WebSocket-Protocol"] == "a,b"
    assert event["queryStringParameters"] == {"a": "2", "b": ""}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": [""]}
    context = event["requestContext"]
    assert (context["routeKey"], context["eventType"]) == ("$connect", "CONNECT")
    assert (context["stage"], context["apiId"]) == ("prod", "api1")
    assert context["domainName"] == plane.url.removeprefix("http://").removesuffix("/prod")
    assert context["requestTimeEpoch"] >= context["connectedAt"] > 1.6e12
    assert "messageId" not in context
    await socket.close()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"statusCode": 401}, 401),
        ({"statusCode": 403, "body": "no"}, 403),
        ({"statusCode": 500}, 500),
        ({}, 502),
        (b"no JSON", 502),
        ([], 502),
        (None, 502),
    ],
)
async def test_connect_refuses(plane: Plane, answer: Any, status: int) -> None:
    """The status of `$connect` is that of the handshake. A result in no form is a 502."""
    plane.functions.answer = lambda _event: answer
    assert await refused(plane) == status
    assert len(plane.gateways.connections) == 0


async def test_messages_and_the_end(plane: Plane) -> None:
    """A message invokes its route asynchronously with the template's event; so does the end."""
    socket = await plane.connect()
    key = plane.functions.invoked[0]["requestContext"]["connectionId"]
    text = '{"action": "unknown", "text": "ä \\"quoted\\" $context.apiId"}'
    await socket.send_str(text)
    event = await plane.event()
    assert (event["id"], event["type"]) == (key, "MESSAGE")
    assert base64.b64decode(event["body"]).decode() == text
    for other in ("no JSON", "[]", '{"action": 1}', '{"action": "$connect"}'):
        await socket.send_str(other)
        assert base64.b64decode((await plane.event())["body"]).decode() == other
    await socket.send_str('{"action": "sync"}')
    await socket.ping()
    await socket.close(code=4000)
    ended = await plane.event()
    assert (ended["id"], ended["type"]) == (key, "DISCONNECT")
    assert plane.functions.invoked[1]["requestContext"]["routeKey"] == "sync"
    assert len(plane.functions.invoked[1]["requestContext"]["messageId"]) == 36
    assert await plane.call("POST", key, b"late") == (410, "GoneException")


async def test_a_lost_connection_is_told(plane: Plane) -> None:
    """A connection that ends without a close frame is told to `$disconnect`, too."""
    socket = await plane.connect()
    assert socket._response.connection is not None
    transport = socket._response.connection.transport
    assert transport is not None
    transport.abort()
    assert (await plane.event())["type"] == "DISCONNECT"


async def test_posts(plane: Plane) -> None:
    """A post reaches the client as one text message, whatever its length; DELETE closes."""
    socket = await plane.connect(max_msg_size=1_000_000)
    key = plane.functions.invoked[0]["requestContext"]["connectionId"]
    for text in ("", "one", "ä" * 60_000):
        assert await plane.call("POST", key, text.encode()) == (200, "")
        if text:
            assert await socket.receive_str() == text
        else:
            assert (await socket.receive()).data == ""
    need = plane.needs[-1]
    assert need.action == "execute-api:ManageConnections"
    assert (
        need.resource
        == f"arn:aws:execute-api:us-east-1:123456789012:api1/prod/POST/@connections/{key}"
    )
    assert await plane.call("GET", key) == (200, "")
    assert await plane.call("DELETE", key) == (204, "")
    assert await closed(socket) == 1000
    assert await plane.call("GET", key) == (410, "GoneException")
    assert await plane.call("POST", "AAAAAAAAAAAAAAA=", b"x") == (410, "GoneException")
    assert await plane.call("POST", "short", b"x") == (400, "BadRequestException")
    assert await plane.call("PUT", key, b"x") == (403, "ForbiddenException")


async def test_post_without_permission(plane: Plane) -> None:
    """What IAM refuses reaches no client."""
    await plane.connect()
    key = plane.functions.invoked[0]["requestContext"]["connectionId"]
    plane.denied = aiohttp.web.Response(status=403, headers={"x-amzn-ErrorType": "Denied"})
    assert await plane.call("POST", key, b"x") == (403, "Denied")


async def test_too_long(plane: Plane) -> None:
    """A frame over 32 kB closes with 1009; a post over 128 kB is a 413."""
    socket = await plane.connect()
    await socket.send_str("x" * 32_769)
    assert await closed(socket) == 1009
    assert (await plane.event())["type"] == "DISCONNECT"
    socket = await plane.connect()
    key = plane.functions.invoked[-1]["requestContext"]["connectionId"]
    assert await plane.call("POST", key, b"x" * 131_073) == (413, "PayloadTooLargeException")


async def test_binary(plane: Plane) -> None:
    """A binary frame closes with 1003."""
    socket = await plane.connect()
    await socket.send_bytes(b"x")
    assert await closed(socket) == 1003


async def test_idle_and_total_time(plane: Plane) -> None:
    """10 minutes without a frame or a post, and two hours in all, close with 1001."""
    socket = await plane.connect()
    key = plane.functions.invoked[0]["requestContext"]["connectionId"]
    for _ in range(12):
        plane.now += 599
        assert await plane.call("POST", key, b"x") == (200, "")
        plane.gateways.connections.expire()
        assert await socket.receive_str() == "x"
    plane.now += 12
    plane.gateways.connections.expire()
    assert await closed(socket) == 1001
    socket = await plane.connect()
    plane.now += 600
    plane.gateways.connections.expire()
    assert await closed(socket) == 1001


async def test_handshakes_a_second(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshakes over the account's rate are a 429, and are not told to the function."""
    limit(monkeypatch, "apigateway_connects", 2)
    async with started() as small:
        for _ in range(2):
            await small.connect()
        assert await refused(small) == 429
        assert len(small.functions.invoked) == 2
        small.now += 0.5
        await small.connect()


async def test_requests_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Posts and messages share one rate: over it a post is a 429, and a message is answered."""
    limit(monkeypatch, "apigateway_rate", 2)
    limit(monkeypatch, "apigateway_burst", 3)
    async with started() as small:
        socket = await small.connect()
        key = small.functions.invoked[0]["requestContext"]["connectionId"]
        assert await small.call("POST", key, b"x") == (200, "")
        assert await small.call("GET", key) == (200, "")
        assert await small.call("POST", key, b"x") == (429, "LimitExceededException")
        assert await socket.receive_str() == "x"
        await socket.send_str("{}")
        told = json.loads(await socket.receive_str())
        assert (told["message"], told["connectionId"]) == ("Too Many Requests", key)
        small.now += 0.5
        assert await small.call("POST", key, b"x") == (200, "")


async def test_a_stage_s_own_rate() -> None:
    """The rate of a stage, or of one of its routes, refuses before the account's does."""
    rates = {"ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 1}
    async with started(api(RouteSettings={"$connect": rates})) as small:
        await small.connect()
        assert await refused(small) == 429


async def test_a_slow_function(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function without a result in 29 s is a 504 for `$connect`, and a message for a client."""
    socket = await plane.connect()
    limit(monkeypatch, "apigateway_integration", 0)
    plane.functions.answer = lambda _event: asyncio.Event().wait()
    assert await refused(plane) == 504
    await socket.send_str('{"action": "sync"}')
    assert json.loads(await socket.receive_str())["message"] == "Endpoint request timed out"


async def test_without_permission_to_invoke(plane: Plane) -> None:
    """A function whose policy does not name the route is not invoked."""
    plane.functions.permit("another")
    assert await refused(plane) == 500
    assert plane.functions.invoked == []


async def test_what_is_no_handshake(plane: Plane) -> None:
    """Another stage, method, version or host is refused before the function is asked."""
    async with aiohttp.ClientSession() as session:

        async def status(url: str, method: str = "GET", **headers: str) -> int:
            async with session.request(method, url, headers=headers) as response:
                return response.status

        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        full = {**upgrade, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "a" * 22 + "=="}
        assert await status(plane.url) == 426
        assert await status(plane.url, "POST", **full) == 426
        assert await status(plane.url, **{**full, "Sec-WebSocket-Version": "8"}) == 400
        assert await status(plane.url, **{**upgrade, "Sec-WebSocket-Version": "13"}) == 400
        assert await status(f"{plane.url}/more", **full) == 403
        assert await status(plane.url, **full, Host="evil.example") == 403
        assert await status(f"{plane.url}/@connections/a", "POST", Origin="http://a") == 403
    assert plane.functions.invoked == []


async def test_pages_of_any_origin(plane: Plane) -> None:
    """A page of any origin may try: `$connect` sees its Origin and decides, as on AWS."""
    socket = await plane.connect(headers={"Origin": "http://page.example"})
    assert plane.functions.invoked[0]["headers"]["Origin"] == "http://page.example"
    await socket.close()


async def test_the_access_log_has_what_its_format_says() -> None:
    """An access log has a line for each event, and nothing of the query."""
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:access"
    form = '{"route": "$context.routeKey", "status": "$context.status"}'
    async with started(api(AccessLogSettings={"DestinationArn": arn, "Format": form})) as plane:
        socket = await plane.connect("?ticket=secret")
        await socket.send_str("{}")
        await plane.event()
        await socket.close()
        await plane.event()
        await plane.gateways.stop()
        lines = [item for item in plane.shipped.items if "message" in item]
        assert [json.loads(line["message"])["route"] for line in lines] == [
            "$connect",
            "$default",
            "$disconnect",
        ]
        assert {line["group"] for line in lines} == {"access"}
        assert "secret" not in json.dumps(plane.shipped.items)
        counted = [item["data"][0]["MetricName"] for item in plane.shipped.items if "data" in item]
        assert counted == ["ConnectCount", "MessageCount"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("message-dropped", ["2", "3"]),
        ("message-repeated", ["1", "1", "2", "3"]),
        ("message-swapped", ["2", "1", "3"]),
    ],
)
async def test_faults_of_invocations(plane: Plane, kind: str, expected: list[str]) -> None:
    """Faults drop, repeat and swap the invocations of a route."""
    plane.faults.set(parse({"kind": kind, "scope": "$default"}))
    socket = await plane.connect()
    seen: list[str] = []
    for text in ("1", "2", "3"):
        await socket.send_str(text)
        # The integrations of messages run beside each other, so each is awaited.
        while (
            text in expected
            and text not in seen
            and not (kind == "message-swapped" and text == "1")
        ):
            seen.append(base64.b64decode((await plane.event())["body"]).decode())
    while len(seen) < len(expected):
        seen.append(base64.b64decode((await plane.event())["body"]).decode())
    assert seen == expected
    assert plane.faults.listing()[0]["landed"] == 1


async def test_an_invocation_that_is_late(plane: Plane) -> None:
    """A fault delays the invocation of a route."""
    plane.faults.set(parse({"kind": "message-late", "scope": "$default", "seconds": 0.01}))
    socket = await plane.connect()
    await socket.send_str("1")
    assert (await plane.event())["type"] == "MESSAGE"


async def test_a_connection_that_is_lost_at_a_post(plane: Plane) -> None:
    """A fault loses a connection at its k-th post, which gets 410."""
    plane.faults.set(parse({"kind": "socket-gone", "after": 2}))
    socket = await plane.connect()
    key = plane.functions.invoked[0]["requestContext"]["connectionId"]
    statuses = [(await plane.call("POST", key, b"x"))[0] for _ in range(4)]
    assert statuses == [200, 200, 410, 410]
    assert [(await socket.receive()).data for _ in range(2)] == ["x", "x"]
    assert (await plane.event())["type"] == "DISCONNECT"


async def test_an_api_that_goes(plane: Plane) -> None:
    """Deleting an API closes its connections and its port."""
    socket = await plane.connect()
    code, _ = await asyncio.gather(closed(socket), plane.gateways.apply(()))
    assert code == 1001
    assert plane.gateways.observe() == {}
