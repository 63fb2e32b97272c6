"""The client of the Runtime API: its connections, its chunks, and responses that break off."""

import asyncio
import json
import os
from typing import Any

import pytest

from lambda_fn.http.client import Client
from lambda_fn.http.connection import Connection, TransportError
from lambda_fn.runtime.api import ResponseStream, RuntimeApi
from lambda_fn.runtime.loop import serve, trace_id
from tests.support.function import Wire, peer
from tests.support.runtime_api import EVENT, Lambda, hello, run, unchunk


async def begun(wire: Wire) -> tuple[ResponseStream, Connection]:
    """Return a response that has begun, and its connection, which writes to `wire`."""
    client, connection = Client(), Connection()
    client.acquire = lambda origin: connection  # type: ignore[method-assign]
    connection.connection_made(wire)
    stream = ResponseStream(client, "http://x", "/response")
    await stream.begin({"statusCode": 200})
    return stream, connection


async def test_streamed_response(lambda_: Lambda) -> None:
    """The prelude, eight NULs and each piece of the body are separate chunks."""
    [(path, packets)] = await run(lambda_, hello, EVENT)
    head, _, body = b"".join(packets).partition(b"\r\n\r\n")
    assert path == "/2018-06-01/runtime/invocation/r0/response"
    assert b"lambda-runtime-function-response-mode: streaming" in head
    assert b"content-type: application/vnd.awslambda.http-integration-response" in head
    chunks, trailers = unchunk(body)
    assert json.loads(chunks[0]) == {
        "statusCode": 201,
        "headers": {"content-type": "text/plain", "vary": "a, b"},
        "cookies": ["a=1", "b=2"],
    }
    assert chunks[1:] == [bytes(8), b"hello", b", ", b"world"]
    assert trailers == b"\r\n"


async def test_a_response_has_a_connection_of_its_own(lambda_: Lambda) -> None:
    """A response opens a connection, and closes it. `/next` keeps the one that it has."""
    await run(lambda_, hello, EVENT, EVENT, EVENT)
    async with asyncio.timeout(60):
        closed = [await lambda_.closed.get() for _ in range(2)]  # the last one may be under way
    assert closed == [["response"]] * 2
    assert {use for uses in lambda_.uses if uses != ["response"] for use in uses} == {"next"}
    assert lambda_.connections == 4


async def test_a_failure_keeps_the_connection(lambda_: Lambda) -> None:
    """An error is sent on the connection of `/next`, which goes on."""
    await run(lambda_, hello, {"test": 1}, {"test": 2})
    assert lambda_.connections == 1


async def test_one_connection_carries_everything_on_request(lambda_: Lambda) -> None:
    """With the setting, invocations and their responses use one connection until it is closed."""
    await run(lambda_, hello, EVENT, EVENT, EVENT, one_connection=True)
    assert lambda_.connections == 1
    lambda_.status = "202 Accepted\r\nConnection: close"
    await run(lambda_, hello, EVENT, EVENT, one_connection=True)
    assert lambda_.connections > 2  # the last one may not have arrived yet


async def test_a_response_opens_its_connection_when_it_begins(lambda_: Lambda) -> None:
    """While the model has not answered, no connection is open that says nothing."""
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(lambda_.connections)
        await hello(scope, receive, send)

    await run(lambda_, app, EVENT)
    assert seen == [1]


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("puts", [False, True], ids=["sent", "put"])
async def test_a_kept_connection_that_turns_out_closed(pieces: int, puts: bool) -> None:
    """With one connection, all responses arrive, even if it is closed each time without notice."""
    received: list[bytes] = []
    events = asyncio.Queue[bytes]()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/next " in head:
            event = await events.get()
            response = b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r\r\nContent-Length: %d\r\n\r\n%b"
            writer.write(response % (len(event), event))
            await writer.drain()
            return
        received.append(await reader.readuntil(b"\r\n0\r\n\r\n"))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(pieces):
            body = {
                "type": "http.response.body",
                "body": b"<%d>" % number,
                "more_body": number + 1 < pieces,
            }
            if not puts or not body["more_body"]:
                await send(body)
            elif not scope["aws.put"](body["body"]):
                await send({**body, "body": b""})
            await asyncio.sleep(0.001)

    async with peer(handler) as origin:
        api = RuntimeApi(origin.removeprefix("http://"), one_connection=True)
        server = asyncio.ensure_future(serve(app, api))
        async with asyncio.timeout(60):
            for count in range(1, 6):
                events.put_nowait(json.dumps(EVENT).encode())
                while len(received) < count:  # noqa: ASYNC110 (the peer has no event for it)
                    await asyncio.sleep(0.001)
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server
    chunks = b"".join(b"3\r\n<%d>\r\n" % number for number in range(pieces))
    assert all(chunks in response for response in received)


async def test_prelude_is_written_apart() -> None:
    """The prelude and its NULs are one write of two chunks, before any byte of the body.

    AWS's clients for Node.js (`HttpResponseStream`) and Rust (`EventCompletionRequest`) send the
    same two chunks.
    """
    stream, _ = await begun(wire := Wire())
    await stream.write(b"hello")
    assert wire.writes[0].endswith(b'12\r\n{"statusCode":200}\r\n8\r\n' + bytes(8) + b"\r\n")
    assert wire.writes[1:] == [b"5\r\nhello\r\n"]


class _LateWire(Wire):
    """A transport that sends what was written in one turn of the event loop together, as uvloop's.

    `packets` has what was sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.writes:
            asyncio.get_running_loop().call_soon(self._send)
        super().write(data)

    def _send(self) -> None:
        self.packets.append(b"".join(self.writes))
        self.writes.clear()

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.writes))


async def test_the_prelude_is_sent_apart_where_writes_are_joined() -> None:
    """The prelude has left before the body's first bytes are written."""
    stream, _ = await begun(wire := _LateWire())
    stream.put(b"hello")
    stream.put(b"!")
    await asyncio.sleep(0)
    prelude, body = wire.packets
    assert prelude.endswith(bytes(8) + b"\r\n")
    assert body == b"5\r\nhello\r\n1\r\n!\r\n"


async def test_a_write_to_a_connection_that_has_just_broken_fails() -> None:
    """A writer that never waits for anything else gets the error, and does not go on for ever."""
    stream, _ = await begun(wire := Wire())
    await stream.write(bytes(20_000))  # too much to be sent again
    wire.abort()  # as the event loop does it; `connection_lost` comes in its next turn
    with pytest.raises(TransportError, match="closed"):
        await stream.write(b"x")


async def test_pieces_that_are_put_come_at_once_and_in_order() -> None:
    """`put` sends a piece without waiting, until the write buffer is full. Then `write` waits."""
    stream, connection = await begun(wire := Wire())
    assert stream.put(b"a")
    connection.pause_writing()
    assert not stream.put(b"b")
    waiting = asyncio.ensure_future(stream.write(b""))
    await asyncio.sleep(0)
    assert not waiting.done()
    connection.resume_writing()
    await waiting
    await stream.write(b"c")
    assert wire.writes[1:] == [b"1\r\na\r\n", b"1\r\nb\r\n", b"1\r\nc\r\n"]


async def test_empty_body_has_a_byte(lambda_: Lambda) -> None:
    """A response without a body gets one byte, because Lambda never delivers an empty one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    [(_, packets)] = await run(lambda_, app, EVENT)
    chunks, _ = unchunk(b"".join(packets).partition(b"\r\n\r\n")[2])
    assert chunks[2:] == [b"\n"]


async def test_context_of_an_invocation(lambda_: Lambda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadline, ARN, tenant and trace id reach the application. Unknown headers are ignored."""
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    lambda_.headers = (
        "Lambda-Runtime-Deadline-Ms: 1790000000500\r\nLambda-Runtime-Invoked-Function-Arn: "
        "arn:x\r\n"
        "Lambda-Runtime-Trace-Id: Root=1-2\r\nLambda-Runtime-Aws-Tenant-Id: "
        "t1\r\nLambda-Runtime-New: y\r\n"
    )
    contexts: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        contexts.update(
            context=scope["aws.context"],
            trace=trace_id.get(),
            variable=os.environ["_X_AMZN_TRACE_ID"],
        )
        assert await receive() == {"type": "http.request", "body": b"hello", "more_body": False}
        await hello(scope, receive, send)

    await run(lambda_, app, EVENT)
    context = contexts["context"]
    assert (context.deadline, context.function_arn, context.tenant_id) == (
        1790000000.5,
        "arn:x",
        "t1",
    )
    assert contexts["trace"] == contexts["variable"] == "Root=1-2"


async def test_response_that_lambda_breaks_off(lambda_: Lambda) -> None:
    """If Lambda closes the connection, the application's write fails.

    The next invocation is served.
    """
    lambda_.break_off = True
    failed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        except TransportError:
            failed.set()
            raise

    server = asyncio.ensure_future(serve(app, RuntimeApi(lambda_.address)))
    async with asyncio.timeout(60):
        lambda_.events.put_nowait(json.dumps(EVENT).encode())
        await lambda_.ready.wait()
        lambda_.ready.clear()
        await failed.wait()
        await lambda_.ready.wait()  # it has fetched the next one
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


async def test_response_that_is_not_accepted(lambda_: Lambda) -> None:
    """Any status but 202 for a response is a TransportError."""
    lambda_.status = "413 Too Large"
    api = RuntimeApi(lambda_.address)
    stream = api.respond("r1")
    await stream.begin({"statusCode": 200})
    stream.end()
    with pytest.raises(TransportError, match="413"):
        await stream.accepted(60)
    stream.close()
