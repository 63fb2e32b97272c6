"""Stand-ins for the services that the function calls.

There is moto's DynamoDB, and a SageMaker and a TCP peer that do what a test says.
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from moto.core.eventstream import EventStreamEncoder

from lambda_fn import ids
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.runtime.event import RUN
from lambda_fn.settings import Model, Settings
from lambda_fn.stream.app import create_app

CREDENTIALS = Credentials("AKIAIOSFODNN7EXAMPLE", "SECRET", "")
"""The key has the form of AWS's keys. Calls with another one pass through all layers of moto, which
costs the fivefold time.
"""
BOTO = {
    "region_name": "eu-west-1",
    "aws_access_key_id": CREDENTIALS.access_key,
    "aws_secret_access_key": CREDENTIALS.secret_key,
}
"""What stock boto3 needs beside moto's URL."""
KEY = "sk-abcdefgh2345-" + "Aa0_-" * 8 + "xyz"  # the same in each process of a run
KEY_ID = ids.key_id_of(KEY) or ""
ORIGIN = "origin-secret"
TABLE = "usage"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_frame = EventStreamEncoder().encode_message


def part(payload: bytes) -> Any:
    """Return a PayloadPart frame."""
    return _frame({":message-type": "event", ":event-type": "PayloadPart"}, payload)


def exception_frame(kind: str) -> Any:
    """Return an exception frame."""
    return _frame(
        {":message-type": "exception", ":exception-type": kind}, b'{"Message":"secret detail"}'
    )


def lines(*records: dict[str, Any]) -> bytes:
    """Return the container's lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


START = {"type": "start", "prompt_tokens": 4}
HELLO = {"type": "delta", "index": 0, "delta": {"content": "Hello"}, "tokens": 1}
WORLD = {"type": "delta", "index": 0, "delta": {"content": " world"}, "tokens": 1}
FINISH = {"type": "finish", "index": 0, "finish_reason": "stop"}
USAGE = {"type": "usage", "prompt_tokens": 4, "completion_tokens": 2}
END = {"type": "end"}
WHOLE = lines(START, HELLO, WORLD, FINISH, USAGE, END)
FIRST = part(lines(START, HELLO))
"""The frame up to the first token."""
REST = part(lines(WORLD, FINISH, USAGE, END))
"""The frame behind `FIRST`, to the end."""


@asynccontextmanager
async def peer(handler: Handler) -> AsyncIterator[str]:
    """Serve raw TCP on loopback, and yield the origin.

    At the end the connections that are left are broken. Python 3.12 waits for them before a server
    is closed.
    """
    transports: set[asyncio.WriteTransport] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transports.add(writer.transport)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for transport in transports:
            transport.abort()


class Wire(asyncio.Transport):
    """A transport that records what is done to it."""

    def __init__(self) -> None:
        """Begin as an open transport."""
        super().__init__()
        self.reading = True
        self.aborted = False
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Record the bytes."""
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        """Record the call."""
        self.reading = False

    def resume_reading(self) -> None:
        """Record the call."""
        self.reading = True

    def get_write_buffer_size(self) -> int:
        """Return 0: what is written is sent."""
        return 0

    def is_closing(self) -> bool:
        """Return whether it was aborted."""
        return self.aborted

    def abort(self) -> None:
        """Record the call."""
        self.aborted = True


def receive(connection: asyncio.BufferedProtocol, data: bytes) -> None:
    """Feed bytes to a connection, in as many reads as its buffer needs."""
    while data:
        buffer = memoryview(connection.get_buffer(-1))
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        connection.buffer_updated(size)
        data = data[size:]


@dataclass
class StandIn:
    """A SageMaker endpoint that answers `status` and then takes the steps of `script`.

    A step writes bytes, awaits an event, or resets the connection (None). With `script_of`, each
    body has a script of its own. A cancel is recorded apart in `cancelled`, and `cancel` decides
    its answer. The endpoints in `busy` throttle. `attributes` are the custom attributes of each
    request, which SageMaker passes on.
    """

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    connections: set[Any] = field(default_factory=set)
    script: Iterable[bytes | asyncio.Event | None] = field(default_factory=tuple)
    script_of: Callable[[dict[str, Any]], Iterable[bytes | asyncio.Event | None]] | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)

    async def cancel(self, number: int) -> bool:
        """Return whether this instance runs the request of a cancel.

        The first cancel is number 0.
        """
        return True

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one invocation."""
        body = await request.json()
        if "cancel" in body.get("sluice", {}):
            self.cancelled.append(body["sluice"]["cancel"])
            found = await self.cancel(len(self.cancelled) - 1)
            return web.Response(body=part(json.dumps({"cancelled": found}).encode()))
        self.bodies.append(body)
        self.asked.set()
        self.attributes.append(request.headers.get("X-Amzn-SageMaker-Custom-Attributes", ""))
        if request.path.split("/")[2] in self.busy:
            return web.json_response({"__type": "ThrottlingException"}, status=429)
        self.connections.add(request.transport)
        response = web.StreamResponse(status=self.status, headers=self.headers)
        await response.prepare(request)
        try:
            for step in self.script if self.script_of is None else self.script_of(body):
                if step is None:
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    await response.write(step)
            await response.write_eof()
        finally:
            self.closed.set()
        return response


@dataclass
class Reply:
    """The response of the application."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    whole: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds. It is checked each time the response grows."""
        async with asyncio.timeout(60):
            while not holds():
                self.grown.clear()
                await self.grown.wait()

    async def until_chunks(self, count: int) -> None:
        """Wait until this number of pieces of the body has arrived."""
        await self.until(lambda: len(self.chunks) >= count)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks)

    @property
    def error(self) -> dict[str, Any]:
        """The error object. It must have OpenAI's four fields and come with a request id."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert self.headers["x-request-id"].startswith("req_")
        assert self.headers["content-type"] == "application/json"
        return error


class Got(asyncio.Event):
    """A step of the model that ends when the client has got some pieces."""

    def __init__(self, reply: Reply, count: int = 1) -> None:
        """Take the client's end."""
        super().__init__()
        self._reply, self._count = reply, count

    async def wait(self) -> Literal[True]:
        """Wait for the pieces."""
        await self._reply.until_chunks(self._count)
        return True


class Stuck(asyncio.Event):
    """A client that stops reading. `reached` is set when it does."""

    def __init__(self) -> None:
        """Begin before that."""
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> Literal[True]:
        """Read nothing more."""
        self.reached.set()
        return await super().wait()


Call = Callable[..., Awaitable[Reply]]
QUIET = 3600.0
"""Seconds between heartbeats, unless a test names others. On a busy machine, a step of a test takes
longer than the default, and a body that the test compares would have a heartbeat.
"""


def caller(
    moto_url: str,
    sagemaker: StandIn,
    http: Client,
    changes: dict[str, Any],
    create: Callable[..., Any] = create_app,
) -> Call:
    settings = Settings(
        region="eu-west-1",
        usage_table=TABLE,
        models={"m": Model(endpoint="endpoint-1", context_tokens=100)},
        origin_secrets=(ORIGIN, "previous"),
        dynamodb_url=moto_url,
        sagemaker_url=sagemaker.url,
        heartbeat=QUIET,
    )
    app = create(dataclasses.replace(settings, **changes), http, lambda: CREDENTIALS)

    async def run(
        method: str = "POST",
        path: str = "/v1/chat/completions",
        body: Any = None,
        *,
        key: str | None = KEY,
        origin: str = ORIGIN,
        more: dict[str, str] | None = None,
        reply: Reply | None = None,
        context: object = None,
        stuck: asyncio.Event | None = None,
        queued: str | None = None,
    ) -> Reply:
        reply = reply or Reply()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [(b"x-sluice-origin-secret", origin.encode())]
        headers += [(name.encode(), value.encode()) for name, value in (more or {}).items()]
        if key is not None:
            headers.append((b"authorization", f"Bearer {key}".encode()))

        path, _, query = path.partition("?")
        pieces = [data[: len(data) // 2], data[len(data) // 2 :]]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {
                    name.decode(): value.decode() for name, value in message["headers"]
                }
            else:
                if stuck is not None and reply.chunks:
                    await stuck.wait()  # a client that stops reading
                if message.get("body") or not message.get("more_body"):
                    reply.chunks.append(message.get("body", b""))
                reply.whole = not message.get("more_body", False)
            reply.grown.set()

        def put(data: bytes) -> bool:
            reply.chunks.append(data)
            reply.grown.set()
            return stuck is None

        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers,
            "query_string": query.encode(),
            "state": {},
            "aws.after": (after := list[asyncio.Future[object]]()),
            "aws.put": put,
        }
        if context is not None:
            scope["aws.context"] = context
        if queued is not None:  # the run of a queued response, which has no request
            scope = {"type": RUN, RUN: queued, "state": {}, "aws.after": after}
        try:
            await app(
                {**scope, "raw_path": path.encode(), "root_path": "", "http_version": "1.1"},
                receive,
                send,
            )
        finally:
            while pending := [task for task in after if not task.done()]:
                await asyncio.gather(*pending)
        return reply

    return run
