"""The runtime, with a Runtime API that records every byte."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lambda_fn.http.client import Client
from lambda_fn.http.connection import Connection, TransportError
from lambda_fn.runtime.api import ResponseStream, RuntimeApi
from lambda_fn.runtime.event import InvalidEvent, to_scope
from lambda_fn.runtime.loop import serve, trace_id
from tests.support.function import Wire, peer

EVENT: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/v1/caf%C3%A9",
    "rawQueryString": "a=1&b=%20",
    "headers": {"Host": "x", "content-type": "application/json", "x-forwarded-proto": "https"},
    "cookies": ["a=1", "b=2"],
    "requestContext": {
        "http": {
            "method": "POST",
            "path": "/v1/café",
            "protocol": "HTTP/1.1",
            "sourceIp": "10.0.0.1",
        }
    },
    "body": "hello",
    "isBase64Encoded": False,
    "somethingNew": {"x": 1},
}


def test_scope_of_an_event() -> None:
    """An event becomes the scope of its request."""
    scope, body = to_scope(json.dumps(EVENT).encode())
    assert body == b"hello"
    assert (scope["method"], scope["path"], scope["raw_path"]) == (
        "POST",
        "/v1/café",
        b"/v1/caf%C3%A9",
    )
    assert (scope["query_string"], scope["http_version"], scope["client"]) == (
        b"a=1&b=%20",
        "1.1",
        ("10.0.0.1", 0),
    )
    assert dict(scope["headers"])[b"host"] == b"x"
    assert dict(scope["headers"])[b"cookie"] == b"a=1; b=2"


def test_scope_of_a_binary_body() -> None:
    """A body in base 64 is decoded."""
    event = {**EVENT, "body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    assert to_scope(json.dumps(event).encode())[1] == b"\x00\xff"


@pytest.mark.parametrize(
    "event", [b"", b"{}", b'"test"', b'{"requestContext":{"http":{}}}', b"[" * 10_000, b"\xff"]
)
def test_other_events_are_refused(event: bytes) -> None:
    """A test event of the console, and bytes that are no event, are rejected."""
    with pytest.raises(InvalidEvent):
        to_scope(event)


def is_whole(data: bytes) -> bool:
    """Return whether a request is complete."""
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return b"\r\n0\r\n" in body and body.endswith(b"\r\n\r\n")
    return len(body) == int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])


@dataclass
class Lambda:
    """A Runtime API. It serves `events`, and records the packets of each other request.

    `uses` has the last parts of the paths that came by each connection.
    """

    events: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    requests: asyncio.Queue[tuple[str, list[bytes]]] = field(default_factory=asyncio.Queue)
    headers: str = ""
    waiting: int = 0
    connections: int = 0
    uses: list[list[str]] = field(default_factory=list)
    closed: asyncio.Queue[list[str]] = field(default_factory=asyncio.Queue)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""
    break_off: bool = False
    refuse_errors: bool = False
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    status: str = "202 Accepted"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        uses: list[str] = []
        self.uses.append(uses)
        while True:
            packets = [await reader.read(65536)]
            if not packets[0]:
                self.closed.put_nowait(uses)
                return
            path = packets[0].split(b" ")[1].decode()
            uses.append(path.rpartition("/")[2])
            if path.endswith("/next"):
                self.waiting += 1
                self.ready.set()
                event = await self.events.get()
                self.waiting -= 1
                number = self.events.qsize()
                writer.write(
                    f"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r{number}\r\n{self.headers}"
                    f"Content-Length: {len(event)}\r\n\r\n".encode()
                    + event
                )
                continue
            while not is_whole(b"".join(packets)):
                if self.break_off:
                    writer.transport.abort()
                    return
                packets.append(await reader.read(65536))
            if self.refuse_errors and path.endswith("/error"):
                self.refused.set()
                writer.transport.abort()
                return
            writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())
            self.requests.put_nowait((path, packets))


@pytest.fixture
async def lambda_() -> AsyncIterator[Lambda]:
    """Run a Runtime API."""
    state = Lambda()
    async with peer(state.handle) as origin:
        state.address = origin.removeprefix("http://")
        yield state


async def run(
    lambda_: Lambda,
    app: Callable[..., Awaitable[None]],
    *events: Any,
    one_connection: bool = False,
) -> list[tuple[str, list[bytes]]]:
    """Serve some events with an application. Return what the Runtime API received."""
    api = RuntimeApi(lambda_.address, one_connection=one_connection)
    server = asyncio.ensure_future(serve(app, api))
    got = []
    async with asyncio.timeout(60):
        for event in events:
            lambda_.events.put_nowait(json.dumps(event).encode())
            got.append(await lambda_.requests.get())
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server
    return got


def unchunk(data: bytes) -> tuple[list[bytes], bytes]:
    """Split a chunked body into its chunks and its trailers."""
    chunks: list[bytes] = []
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return chunks, data
        chunks.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Stream two pieces."""
    headers = [(b"Content-Type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    headers += [(b"vary", b"a"), (b"vary", b"b")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    for piece in (b"hello", b", ", b"world"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


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
async def test_a_kept_connection_that_turns_out_closed(pieces: int) -> None:
    """With one connection, all responses arrive, even if it is closed each time without notice."""
    got: list[bytes] = []
    events = asyncio.Queue[bytes]()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/next " in head:
            event = await events.get()
            answer = b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r\r\nContent-Length: %d\r\n\r\n%b"
            writer.write(answer % (len(event), event))
            await writer.drain()
            return
        got.append(await reader.readuntil(b"\r\n0\r\n\r\n"))
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
            await send(body)
            await asyncio.sleep(0.001)

    async with peer(handler) as origin:
        api = RuntimeApi(origin.removeprefix("http://"), one_connection=True)
        server = asyncio.ensure_future(serve(app, api))
        async with asyncio.timeout(60):
            for count in range(1, 6):
                events.put_nowait(json.dumps(EVENT).encode())
                while len(got) < count:  # noqa: ASYNC110 (the peer has no event for it)
                    await asyncio.sleep(0.001)
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server
    said = b"".join(b"3\r\n<%d>\r\n" % number for number in range(pieces))
    assert all(said in response for response in got)


async def test_prelude_is_written_apart() -> None:
    """The prelude and its NULs are one write of two chunks, before any byte of the body.

    AWS's clients for Node.js (`HttpResponseStream`) and Rust (`EventCompletionRequest`) send the
    same two chunks.
    """
    client = Client()
    client.acquire = lambda origin: connection  # type: ignore[method-assign]
    connection = Connection()
    connection.connection_made(wire := Wire())
    stream = ResponseStream(client, "http://x", "/response")
    await stream.begin({"statusCode": 200})
    await stream.write(b"hello")
    assert wire.writes[0].endswith(b'12\r\n{"statusCode":200}\r\n8\r\n' + bytes(8) + b"\r\n")
    assert wire.writes[1:] == [b"5\r\nhello\r\n"]


async def test_empty_body_has_a_byte(lambda_: Lambda) -> None:
    """A response without a body gets one byte, because Lambda never delivers an empty one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    [(_, packets)] = await run(lambda_, app, EVENT)
    chunks, _ = unchunk(b"".join(packets).partition(b"\r\n\r\n")[2])
    assert chunks[2:] == [b"\n"]


async def test_failure_after_the_start_is_in_the_trailers(lambda_: Lambda) -> None:
    """If the application fails within its response, trailers have the error in base 64."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise RuntimeError("secret detail")

    [(_, packets)] = await run(lambda_, app, EVENT)
    _, trailers = unchunk(b"".join(packets).partition(b"\r\n\r\n")[2])
    fields = dict(line.split(b": ") for line in trailers.strip().split(b"\r\n"))
    assert fields[b"Lambda-Runtime-Function-Error-Type"] == b"Runtime.RuntimeError"
    error = json.loads(base64.b64decode(fields[b"Lambda-Runtime-Function-Error-Body"]))
    assert error["errorType"] == "Runtime.RuntimeError"
    assert "secret" not in json.dumps(error)


async def test_failures_before_the_start(lambda_: Lambda) -> None:
    """A failure before the response goes to /error, and serving continues.

    The application may fail or not respond, or the event is invalid.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raise":
            raise ValueError("x")

    got = await run(
        lambda_, app, {**EVENT, "rawPath": "/raise"}, {**EVENT, "rawPath": "/silent"}, {"test": 1}
    )
    assert [path.rpartition("/")[2] for path, _ in got] == ["error"] * 3
    kinds = [b"".join(packets).partition(b"\r\n\r\n")[2] for _, packets in got]
    assert [json.loads(kind)["errorType"] for kind in kinds] == [
        "Runtime.ValueError",
        "Runtime.NoResponse",
        "Runtime.InvalidEvent",
    ]


START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
PIECE: dict[str, Any] = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST: dict[str, Any] = {"type": "http.response.body", "body": b"y"}


@pytest.mark.parametrize(
    ("sent", "unexpected", "state"),
    [
        ([], PIECE, "NONE"),
        ([], LAST, "NONE"),
        ([START], START, "BEGUN"),
        ([START, PIECE], START, "BEGUN"),
        ([START, PIECE], {"type": "http.response.trailers"}, "BEGUN"),
        ([START, LAST], LAST, "ENDED"),
        ([START, LAST], START, "ENDED"),
    ],
)
async def test_a_message_out_of_order_raises(
    lambda_: Lambda, sent: list[Any], unexpected: Any, state: str
) -> None:
    """A message out of order raises RuntimeError in the application.

    Its response ends as after any other failure.
    """
    raised: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in sent:
            await send(message)
        try:
            await send(unexpected)
        except RuntimeError as error:
            raised.append(str(error))
            raise

    (path, packets), _ = await run(
        lambda_, app, EVENT, EVENT
    )  # the second begins after the first has ended
    assert (
        raised[0] == f"ASGI message '{unexpected['type']}' is not expected: the response is {state}"
    )
    data = b"".join(packets).partition(b"\r\n\r\n")[2]
    if state == "NONE":
        assert (path.rpartition("/")[2], json.loads(data)["errorType"]) == (
            "error",
            "Runtime.RuntimeError",
        )
    else:
        chunks, trailers = unchunk(data)
        assert chunks[2:] == [message["body"] for message in sent if "body" in message]
        assert (b"Runtime.RuntimeError" in trailers) == (state == "BEGUN")


async def test_work_after_the_response(lambda_: Lambda) -> None:
    """Background work of the application ends after the response and before the next fetch."""
    answered, done = asyncio.Event(), asyncio.Event()

    async def later() -> None:
        await answered.wait()
        assert lambda_.waiting == 0
        done.set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["aws.after"].append(asyncio.ensure_future(later()))
        await hello(scope, receive, send)

    server = asyncio.ensure_future(serve(app, RuntimeApi(lambda_.address)))
    async with asyncio.timeout(60):
        lambda_.events.put_nowait(json.dumps(EVENT).encode())
        await lambda_.requests.get()
        lambda_.ready.clear()
        answered.set()
        await lambda_.ready.wait()
    assert done.is_set()
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


async def test_context_of_an_invocation(lambda_: Lambda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadline, ARN, tenant and trace id reach the application. Unknown headers are ignored."""
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    lambda_.headers = (
        "Lambda-Runtime-Deadline-Ms: 1790000000500\r\nLambda-Runtime-Invoked-Function-Arn: "
        "arn:x\r\n"
        "Lambda-Runtime-Trace-Id: Root=1-2\r\nLambda-Runtime-Aws-Tenant-Id: "
        "t1\r\nLambda-Runtime-New: y\r\n"
    )
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(
            context=scope["aws.context"],
            trace=trace_id.get(),
            variable=os.environ["_X_AMZN_TRACE_ID"],
        )
        assert await receive() == {"type": "http.request", "body": b"hello", "more_body": False}
        await hello(scope, receive, send)

    await run(lambda_, app, EVENT)
    context = seen["context"]
    assert (context.deadline, context.function_arn, context.tenant_id) == (
        1790000000.5,
        "arn:x",
        "t1",
    )
    assert seen["trace"] == seen["variable"] == "Root=1-2"


async def test_many_invocations_in_one_process(lambda_: Lambda) -> None:
    """With a concurrency of three, three invocations are fetched and served at once."""
    together = asyncio.Barrier(3)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await together.wait()
        await hello(scope, receive, send)

    server = asyncio.ensure_future(serve(app, RuntimeApi(lambda_.address), concurrency=3))
    async with asyncio.timeout(60):
        for _ in range(3):
            lambda_.events.put_nowait(json.dumps(EVENT).encode())
        for _ in range(3):
            assert (await lambda_.requests.get())[0].endswith("/response")
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


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


async def test_runtime_api_that_is_gone() -> None:
    """Without a Runtime API the loop ends, and the process with it."""
    with pytest.raises(TransportError):
        await serve(hello, RuntimeApi("127.0.0.1:9"))


async def test_one_lost_error_stops_no_other_invocation(lambda_: Lambda) -> None:
    """If the Runtime API does not accept one invocation's error, the others are finished."""
    lambda_.refuse_errors = True
    failed, finished = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raise":
            failed.set()
            raise ValueError("x")
        await failed.wait()
        await lambda_.refused.wait()
        await hello(scope, receive, send)
        finished.set()

    server = asyncio.ensure_future(serve(app, RuntimeApi(lambda_.address), concurrency=2))
    async with asyncio.timeout(60):
        lambda_.events.put_nowait(json.dumps(EVENT).encode())
        lambda_.events.put_nowait(json.dumps({**EVENT, "rawPath": "/raise"}).encode())
        await finished.wait()
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


async def test_response_that_is_not_accepted(lambda_: Lambda) -> None:
    """Any status but 202 for a response is a TransportError."""
    lambda_.status = "413 Too Large"
    api = RuntimeApi(lambda_.address)
    stream = api.respond("r1")
    await stream.begin({"statusCode": 200})
    with pytest.raises(TransportError, match="413"):
        await stream.end()
    stream.close()


async def test_init_error_is_reported(lambda_: Lambda, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with an invalid setting reports it to /init/error, and ends.

    The report does not have the value.
    """
    from lambda_fn.stream.main import run as run_main

    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", lambda_.address)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("SLUICE_MODELS", '{"m": "secret"}')
    async with asyncio.timeout(60):
        assert await run_main() == 1
        path, packets = await lambda_.requests.get()
    assert path == "/2018-06-01/runtime/init/error"
    assert b"SLUICE_MODELS" in packets[-1]
    assert b"secret" not in b"".join(packets)
