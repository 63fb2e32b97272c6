"""The stand-ins that the function talks to: moto's DynamoDB, a SageMaker and a peer that do what a test says."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from aiohttp import web
from moto.core.eventstream import EventStreamEncoder
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from lambda_fn import accounts, ids, limits
from lambda_fn.app import create_app
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http import Client
from lambda_fn.settings import Model, Settings
from local.control import attribute_values

CREDENTIALS = Credentials("AKID", "SECRET", "")
KEY = "sk-abcdefgh2345-" + "Aa0_-" * 8 + "xyz"  # the same in each process of a run
KEY_ID = ids.key_id_of(KEY) or ""
ORIGIN = "origin-secret"
TABLE = "usage"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_frame = EventStreamEncoder().encode_message


def part(payload: bytes) -> Any:
    """Make a PayloadPart frame."""
    return _frame({":message-type": "event", ":event-type": "PayloadPart"}, payload)


def exception_frame(kind: str) -> Any:
    """Make an exception frame."""
    return _frame({":message-type": "exception", ":exception-type": kind}, b'{"Message":"secret detail"}')


def lines(*records: dict[str, Any]) -> bytes:
    """Make the container's lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


START = {"type": "start", "prompt_tokens": 4}
HELLO = {"type": "delta", "index": 0, "delta": {"content": "Hello"}, "tokens": 1}
WORLD = {"type": "delta", "index": 0, "delta": {"content": " world"}, "tokens": 1}
FINISH = {"type": "finish", "index": 0, "finish_reason": "stop"}
USAGE = {"type": "usage", "prompt_tokens": 4, "completion_tokens": 2}
END = {"type": "end"}
WHOLE = lines(START, HELLO, WORLD, FINISH, USAGE, END)


@asynccontextmanager
async def peer(handler: Handler) -> AsyncIterator[str]:
    """Serve raw TCP on loopback; gives the origin."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Wire(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        """Begin open."""
        super().__init__()
        self.reading = True
        self.aborted = False
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note it."""
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        """Note it."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note it."""
        self.reading = True

    def is_closing(self) -> bool:
        """Say whether it was aborted."""
        return self.aborted

    def abort(self) -> None:
        """Note it."""
        self.aborted = True


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """Run moto's DynamoDB; gives its URL."""
    attribute_values.install()
    moto = DomainDispatcherApplication(create_backend_app)
    one_at_a_time = threading.Lock()  # moto has no locks of its own: a condition would not hold

    def application(environ: Any, start_response: Any) -> Any:
        with one_at_a_time:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def moto_url(moto_server: str) -> Iterator[str]:
    """Make the usage table in it, for each file anew: tests of other folders empty the whole of moto."""
    client = boto3.client(
        "dynamodb", endpoint_url=moto_server, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    keys = {"pk": "HASH", "sk": "RANGE"}
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
    )
    yield moto_server
    client.delete_table(TableName=TABLE)
    client.close()


@pytest.fixture
def items(moto_url: str) -> Any:
    """Give the table as stock boto3 sees it."""
    resource = boto3.resource(
        "dynamodb", endpoint_url=moto_url, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    return resource.Table(TABLE)


@pytest.fixture
async def http() -> AsyncIterator[Client]:
    """Give a client whose idle connections are closed after the test."""
    client = Client()
    yield client
    client.close()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for moto as long as it takes, which on a busy machine may be more than the table is given."""
    monkeypatch.setattr(limits, "META_TIMEOUT", 60.0)


@pytest.fixture
def table(moto_url: str, http: Client, _patient: None) -> Table:
    """Give the table as the function sees it."""
    return Table(http, url=moto_url, region="eu-west-1", name=TABLE, credentials=lambda: CREDENTIALS)


@pytest.fixture
def account(items: Any) -> dict[str, str]:
    """Give the key of a fresh account for `KEY`."""
    items.put_item(Item=accounts.new_account(KEY, name="test", now=1))
    return accounts.account_key(KEY_ID)


@dataclass
class StandIn:
    """A SageMaker endpoint: answers `status`, then does `script`: writes bytes, awaits an event, resets at None.

    A cancel is noted apart, and answered by `cancel`.
    """

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    connections: set[Any] = field(default_factory=set)
    script: Iterable[bytes | asyncio.Event | None] = field(default_factory=tuple)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: list[str] = field(default_factory=list)

    async def cancel(self, number: int) -> bool:
        """Say whether the request that the cancel of a number, from 0, is about was here."""
        return True

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one invocation."""
        body = await request.json()
        if "cancel" in body.get("sluice", {}):
            self.cancelled.append(body["sluice"]["cancel"])
            found = await self.cancel(len(self.cancelled) - 1)
            return web.Response(body=part(json.dumps({"cancelled": found}).encode()))
        self.bodies.append(body)
        self.connections.add(request.transport)
        response = web.StreamResponse(status=self.status, headers=self.headers)
        await response.prepare(request)
        try:
            for step in self.script:
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


@pytest.fixture
async def sagemaker() -> AsyncIterator[StandIn]:
    """Run a stand-in endpoint that answers a whole short answer."""
    stand_in = StandIn(script=[part(WHOLE)])
    application = web.Application()
    application.router.add_post("/endpoints/{name}/invocations-response-stream", stand_in.handle)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    await runner.cleanup()


@dataclass
class Reply:
    """What the application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    whole: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of the answer, which is asked each time it grows."""
        async with asyncio.timeout(60):
            while not holds():
                self.grown.clear()
                await self.grown.wait()

    async def until_chunks(self, count: int) -> None:
        """Wait until so many pieces of the body came."""
        await self.until(lambda: len(self.chunks) >= count)

    @property
    def body(self) -> bytes:
        """Give all chunks in one."""
        return b"".join(self.chunks)

    @property
    def error(self) -> dict[str, Any]:
        """Give the error object, which must have OpenAI's four fields and come with a request id."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert self.headers["x-request-id"].startswith("req_")
        assert self.headers["content-type"] == "application/json"
        return error


Call = Callable[..., Awaitable[Reply]]


@pytest.fixture
def call(make_call: Callable[..., Call]) -> Call:
    """Give a way to call the application as its server would; `reply` may be passed to watch the answer grow."""
    return make_call()


@pytest.fixture
def make_call(moto_url: str, sagemaker: StandIn, http: Client, _patient: None) -> Callable[..., Call]:
    """Give a way to make applications, with settings of their own."""
    return lambda **changes: _call(moto_url, sagemaker, http, changes)


def _call(moto_url: str, sagemaker: StandIn, http: Client, changes: dict[str, Any]) -> Call:
    settings = Settings(
        region="eu-west-1",
        usage_table=TABLE,
        models={"m": Model(endpoint="endpoint-1", context_tokens=100)},
        origin_secrets=(ORIGIN, "previous"),
        dynamodb_url=moto_url,
        sagemaker_url=sagemaker.url,
    )
    app = create_app(dataclasses.replace(settings, **changes), http, lambda: CREDENTIALS)

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
    ) -> Reply:
        reply = reply or Reply()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [(b"x-sluice-origin-secret", origin.encode())]
        headers += [(name.encode(), value.encode()) for name, value in (more or {}).items()]
        if key is not None:
            headers.append((b"authorization", f"Bearer {key}".encode()))

        pieces = [data[: len(data) // 2], data[len(data) // 2 :]]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                if stuck is not None and reply.chunks:
                    await stuck.wait()  # a client that reads no further
                reply.chunks.append(message.get("body", b""))
                reply.whole = not message.get("more_body", False)
            reply.grown.set()

        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers,
            "query_string": b"",
            "state": {},
            "aws.after": (after := list[asyncio.Future[object]]()),
        }
        if context is not None:
            scope["aws.context"] = context
        try:
            await app({**scope, "raw_path": path.encode(), "root_path": "", "http_version": "1.1"}, receive, send)
        finally:
            await asyncio.gather(*after)
        return reply

    return run
