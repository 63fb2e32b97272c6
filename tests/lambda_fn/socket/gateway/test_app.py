"""The socket function over the local cloud's WebSocket API, moto and a stand-in for the model."""

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from infra.constructs.websocket_api import TEMPLATE
from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.aws.functions import Functions, NotInvoked
from lambda_fn.http.client import Client
from lambda_fn.ids import hash_key
from lambda_fn.runtime.api import Context
from lambda_fn.settings import Model, Redaction, Settings
from lambda_fn.socket.core import MESSAGES_BURST
from lambda_fn.socket.gateway import app, control
from lambda_fn.socket.gateway.app import Gateway
from lambda_fn.socket.gateway.control import Control
from lambda_fn.stream_log.tickets import make_ticket
from tests.support.function import (
    CREDENTIALS,
    FIRST,
    KEY,
    KEY_ID,
    ORIGIN,
    REST,
    TABLE,
    WORLD,
    StandIn,
    lines,
    part,
)
from tests.support.kept import Kept, events, head_of
from tests.support.websocket_apis import EVENT, Plane, api, started

ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


class Sockets:
    """A deployment of sockets in this process."""

    def __init__(self, plane: Plane, settings: Settings, http: Client) -> None:
        """Invoke the gateway for each event of the plane."""
        self.plane = plane
        self.settings, self.http = settings, http
        self.answering = Gateway(settings, http, lambda: CREDENTIALS)
        self.gateway: Control = self.answering
        self.control = Control(settings, http, lambda: CREDENTIALS)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.count = 0
        self.invocations: list[tuple[str, dict[str, Any]]] = []
        """The request ids of invocations, with their events."""
        self._came = asyncio.Event()
        plane.functions.answer = self._invoke
        self._pump = asyncio.create_task(self._later())

    async def _invoke(self, event: dict[str, Any]) -> Any:
        context = Context(str(uuid.uuid4()), time.time() + 500, "arn", "", "")
        self.invocations.append((context.request_id, event))
        return await self.gateway.answer(json.dumps(event).encode(), context)

    async def _later(self) -> None:
        while True:
            event = await self.plane.functions.later_invoked.get()
            task = asyncio.create_task(self._invoke(event))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            self.count += 1
            self._came.set()

    async def invoked(self, count: int) -> None:
        """Wait until so many messages have reached a function."""
        while self.count < count:
            self._came.clear()
            await self._came.wait()

    async def told(self, failed: tuple[str, dict[str, Any]], *, begun: bool = True) -> None:
        """Tell the control function that an invocation has failed."""
        by, event = failed
        condition = "RetriesExhausted" if begun else "EventAgeExceeded"
        context = {"requestId": by, "condition": condition}
        record = {"requestContext": context, "requestPayload": event}
        answers, self.gateway = self.gateway, self.control
        try:
            await self._invoke(record)
        finally:
            self.gateway = answers

    async def open(self, **headers: str) -> aiohttp.ClientWebSocketResponse:
        """Open a socket with the key."""
        return await self.plane.connect(headers={"Authorization": f"Bearer {KEY}", **headers})

    async def at_rest(self) -> None:
        """Wait until no function runs."""
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def stop(self) -> None:
        """End everything."""
        self._pump.cancel()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(self._pump, *self.tasks, return_exceptions=True)


@pytest.fixture
async def sockets(
    moto_url: str, streams: Any, sagemaker: StandIn, account: Any, _patient: None
) -> AsyncIterator[Sockets]:
    """Yield sockets whose model is the stand-in."""
    content = api()
    content["properties"]["RouteSelectionExpression"] = "$request.body.type"
    event = dict(EVENT)
    event["RequestTemplates"] = {"$default": TEMPLATE}
    content["integrations"]["two"] = event
    del content["routes"]["sync"]
    http = Client()
    async with started(content) as plane:
        settings = Settings(
            region="eu-west-1",
            usage_table=TABLE,
            models={
                "m": Model(endpoint="endpoint-1", context_tokens=100),
                "big": Model(endpoint="endpoint-2", context_tokens=100),
            },
            fallbacks={"m": "big"},
            origin_secrets=(ORIGIN,),
            dynamodb_url=moto_url,
            sagemaker_url=sagemaker.url,
            stream_table=streams.name,
            websocket_url=plane.url.replace("http", "ws"),
            socket_function="sockets:live",
        )
        found = Sockets(plane, settings, http)
        yield found
        await found.stop()
    http.close()


async def until_end(
    socket: aiohttp.ClientWebSocketResponse, count: int = 1
) -> list[dict[str, Any]]:
    """Return the events until so many responses have ended."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while count:
            events.append(json.loads(await socket.receive_str()))
            count -= events[-1]["type"] in ENDS
    return events


async def until(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """Return the next event of a kind."""
    async with asyncio.timeout(60):
        while True:
            event: dict[str, Any] = json.loads(await socket.receive_str())
            if event["type"] == kind:
                return event


SECRETS = [f"secret-{number}" for number in range(3)]


def create(**members: Any) -> dict[str, Any]:
    """Return a request."""
    return {"type": "response.create", "model": "m", "input": "Hi", **members}


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the text of deltas."""
    return "".join(event.get("delta", "") for event in events)


async def test_a_response(sockets: Sockets, sagemaker: StandIn) -> None:
    """A request is answered with the events of the Responses API, each a message, in order."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    assert [events[0]["type"], events[-1]["type"]] == ["response.created", "response.completed"]
    assert text_of(events) == "Hello world"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(numbers)
    assert all("stream_id" not in event for event in events)
    await socket.close()
    await sockets.at_rest()


@pytest.mark.parametrize("cut", range(1, len("ada@example.com")))
async def test_what_is_redacted_is_in_no_message(
    sockets: Sockets, sagemaker: StandIn, cut: int
) -> None:
    """An address, cut at every place, is in no event, and neither are its parts."""
    settings = dataclasses.replace(sockets.settings, redaction=Redaction(kinds=("email",)))
    sockets.gateway = Gateway(settings, sockets.http, lambda: CREDENTIALS)
    secret = "ada@example.com"
    pieces = ("To ", secret[:cut], secret[cut:], ".")
    deltas = [{**WORLD, "delta": {"content": piece}} for piece in pieces]
    sagemaker.script = [FIRST, *(part(lines(it)) for it in deltas), REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    assert text_of(events) == "HelloTo [EMAIL]. world"
    assert "example" not in json.dumps(events)
    await socket.close()
    await sockets.at_rest()


async def test_lanes(sockets: Sockets, sagemaker: StandIn) -> None:
    """Lanes are answered beside each other, and each event names its lane."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a"))
    await socket.send_json(create(stream_id="b"))
    seen: set[str] = set()
    while seen != {"a", "b"}:
        seen.add((await until(socket, "response.output_text.delta"))["stream_id"])
    held.set()
    events = await until_end(socket, 2)
    assert {event["stream_id"] for event in events} == {"a", "b"}
    await sockets.at_rest()


async def test_a_lane_answers_one_after_the_other(sockets: Sockets, sagemaker: StandIn) -> None:
    """The second request of a lane begins when the first one has ended."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    await until(socket, "response.output_text.delta")
    await socket.send_json(create(input="Second"))
    await sockets.invoked(2)
    await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)  # it is queued
    assert len(sagemaker.bodies) == 1
    held.set()
    events = await until_end(socket, 2)
    kinds = [event["type"] for event in events if event["type"].endswith(("created", "completed"))]
    assert kinds == ["response.completed", "response.created", "response.completed"]
    await sockets.at_rest()


async def test_messages_are_not_kept(sockets: Sockets, sagemaker: StandIn, streams: Any) -> None:
    """A message is in the table while it waits for its lane, whatever becomes of it then."""

    def kept() -> list[str]:
        items = [item for item in streams.scan()["Items"] if item["pk"].startswith("C#")]
        return [text for text in SECRETS if text in str(items)]

    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(input=SECRETS[0]))
    await until(socket, "response.output_text.delta")
    for number, text in enumerate(SECRETS[1:], 2):
        await socket.send_json(create(input=text))
        await sockets.invoked(number)
    while len(sockets.tasks) > 1:  # the others wait for their lane
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert kept() == SECRETS[1:]
    held.set()
    await until_end(socket, len(SECRETS))
    await sockets.at_rest()
    assert kept() == []

    held.clear()
    await socket.send_json(create(input="Hi"))
    await until(socket, "response.output_text.delta")
    await socket.send_json(create(input=SECRETS[0]))
    await sockets.invoked(len(SECRETS) + 2)
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert kept() == SECRETS[:1]
    await socket.close()
    await sockets.invoked(len(SECRETS) + 3)
    held.set()
    await sockets.at_rest()
    assert kept() == []


async def test_cancel(sockets: Sockets, sagemaker: StandIn) -> None:
    """A cancel ends one lane, with its own last event, and leaves the other alone."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    for lane in ("a", "b"):
        await socket.send_json(create(stream_id=lane))
        await until(socket, "response.output_text.delta")
    await socket.send_json({"type": "response.cancel", "stream_id": "a"})
    [*_, failed] = await until_end(socket)
    assert (failed["type"], failed["stream_id"]) == ("response.failed", "a")
    assert failed["response"]["status"] == "cancelled"
    held.set()
    [*_, completed] = await until_end(socket)
    assert (completed["type"], completed["stream_id"]) == ("response.completed", "b")
    await sockets.at_rest()


async def test_a_cancel_of_nothing(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel that finds nothing is an error event, and the socket goes on."""
    monkeypatch.setattr(control, "EARLY", 0.0)
    socket = await sockets.open()
    await socket.send_json({"type": "response.cancel", "stream_id": "a"})
    [error] = await until_end(socket)
    assert (error["status"], error["error"]["code"]) == (404, "response_not_found")
    assert error["stream_id"] == "a"
    await sockets.at_rest()


async def test_cancels_of_nothing_keep_one_function_busy(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many cancels that find nothing are all told, and only one function waits with them."""
    woken, sleeping = asyncio.Event(), list[float]()

    async def sleep(seconds: float) -> None:
        sleeping.append(seconds)
        await woken.wait()

    monkeypatch.setattr(control, "asyncio", _Asyncio(sleep))
    monkeypatch.setattr(control, "EARLY", 0.0)
    socket = await sockets.open()
    names = [f"lane{number}" for number in range(20)]
    for name in names:
        await socket.send_json({"type": "response.cancel", "stream_id": name})
    await sockets.invoked(len(names))
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(sleeping) == 1
    woken.set()
    found = await until_end(socket, len(names))
    assert sorted(error["stream_id"] for error in found) == sorted(names)
    await sockets.at_rest()


class _Asyncio:
    """The module `asyncio` with another `sleep`."""

    def __init__(self, sleep: Any) -> None:
        """Take it."""
        self.sleep = sleep

    def __getattr__(self, name: str) -> Any:
        """Return what the module has."""
        return getattr(asyncio, name)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no JSON", None),
        ("[]", None),
        ('{"type": "response.create"', None),
        ({"type": "response.unknown"}, "invalid_value"),
        ({"type": "response.create", "stream_id": ""}, "invalid_stream_id"),
        (create(model="other"), "model_not_found"),
        (create(background=True), "unsupported_parameter"),
        (create(generate=False, model="other"), "model_not_found"),
        (create(temperature=9), None),
        ({"type": "response.resume", "response_id": "resp_x"}, "response_not_found"),
        (create(previous_response_id="resp_x"), "previous_response_not_found"),
    ],
)
async def test_a_bad_message(
    sockets: Sockets, sagemaker: StandIn, message: Any, code: str | None
) -> None:
    """A message that cannot be answered is an error event; the next one is answered."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await (socket.send_str(message) if isinstance(message, str) else socket.send_json(message))
    [error] = await until_end(socket)
    assert error["type"] == "error"
    assert 400 <= error["status"] < 500
    assert code is None or error["error"]["code"] == code
    await socket.send_json(create())
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    await sockets.at_rest()


async def test_going_on(sockets: Sockets, sagemaker: StandIn) -> None:
    """A response that is not stored can be continued on its own connection, and on no other."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create(store=False))
    first = (await until_end(socket))[-1]["response"]
    await sockets.at_rest()
    follow = create(store=False, previous_response_id=first["id"], input="More")
    await socket.send_json(follow)
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    contents = [message["content"] for message in sagemaker.bodies[-1]["messages"]]
    assert contents == ["Hi", "Hello world", "More"]
    other = await sockets.open()
    await other.send_json(follow)
    [error] = await until_end(other)
    assert error["error"]["code"] == "previous_response_not_found"
    await sockets.at_rest()


async def test_nothing_is_generated(sockets: Sockets, sagemaker: StandIn) -> None:
    """With `generate` false a request is only checked, and later ones go on from it."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create(store=False, generate=False))
    events = await until_end(socket)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    first = events[-1]["response"]
    assert (first["status"], first["output"], first["usage"]["total_tokens"]) == (
        *("completed", []),
        0,
    )
    assert not sagemaker.bodies
    await sockets.at_rest()
    await socket.send_json(create(store=False, previous_response_id=first["id"], input="More"))
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    contents = [message["content"] for message in sagemaker.bodies[-1]["messages"]]
    assert contents == ["Hi", "More"]
    await sockets.at_rest()


async def test_a_log_that_answers_late(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response whose log did not tell its end in time is read to its end from the log."""
    monkeypatch.setattr(limits, "LOG_END_TIMEOUT", 0.0)
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    assert events[-1]["type"] == "response.completed"
    assert text_of(events) == "Hello world"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    await sockets.at_rest()


async def test_a_fallback(sockets: Sockets, sagemaker: StandIn) -> None:
    """What a fallback answers can be cancelled by its own id, and gone on from."""
    held = asyncio.Event()
    sagemaker.busy, sagemaker.script = {"endpoint-1"}, [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(store=False))
    name = (await until(socket, "response.created"))["response"]["id"]
    await until(socket, "response.output_text.delta")
    sockets.gateway = Control(sockets.settings, sockets.http, lambda: CREDENTIALS)  # elsewhere
    await socket.send_json({"type": "response.cancel", "response_id": name})
    [*_, failed] = await until_end(socket)
    assert (failed["response"]["id"], failed["response"]["status"]) == (name, "cancelled")
    await sockets.at_rest()
    held.set()
    sockets.gateway = sockets.answering
    await socket.send_json(create(store=False))
    first = (await until_end(socket))[-1]["response"]
    await sockets.at_rest()
    await socket.send_json(create(store=False, previous_response_id=first["id"], input="More"))
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    await sockets.at_rest()


async def test_resuming(sockets: Sockets, sagemaker: StandIn) -> None:
    """A response is sent again from behind an event, on a new connection."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    await socket.close()
    again = await sockets.open()
    at = events[1]["sequence_number"]
    name = events[0]["response"]["id"]
    resume = {"type": "response.resume", "response_id": name, "starting_after": at}
    await again.send_json({**resume, "stream_id": "r"})
    rest = await until_end(again)
    assert [event["type"] for event in rest] == [event["type"] for event in events[2:]]
    assert text_of(rest) == "Hello world"
    assert {event["stream_id"] for event in rest} == {"r"}
    await sockets.at_rest()


@pytest.mark.parametrize(
    ("members", "stays"),
    [
        ({"store": True}, True),
        ({"store": False}, False),
        ({"store": False, "sluice": {"durable": True}}, True),
    ],
)
async def test_a_client_that_leaves(
    sockets: Sockets, sagemaker: StandIn, members: dict[str, Any], stays: bool, streams: Any
) -> None:
    """A stored or durable response goes on without its client. Another one is cancelled."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(**members))
    name = (await until(socket, "response.created"))["response"]["id"].removeprefix("resp_")
    await until(socket, "response.output_text.delta")
    await socket.close()
    while len(sockets.tasks) > 1 or (not stays and sockets.tasks):
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    held.set()
    await sockets.at_rest()
    head = streams.get_item(Key={"pk": f"R#{name}", "sk": "HEAD"})["Item"]
    assert head["status"] == ("completed" if stays else "cancelled")


async def test_handshakes(sockets: Sockets, kept: Kept) -> None:
    """A handshake needs a key that may be used, or a ticket, once."""

    async def status(query: str = "", **options: Any) -> int:
        try:
            await (await sockets.plane.connect(query, **options)).close()
        except aiohttp.WSServerHandshakeError as error:
            return error.status
        return 101

    assert await status() == 401
    assert await status(headers={"Authorization": "Bearer sk-wrong"}) == 401
    assert await status(headers={"x-api-key": KEY}) == 101
    caller = Caller(key_id=KEY_ID, key_hash=hash_key(KEY))
    ticket, _ = await make_ticket(kept.table, caller, now=time.time())
    assert await status(f"?ticket={ticket}") == 101
    assert await status(f"?ticket={ticket}") == 401
    ticket, _ = await make_ticket(kept.table, caller, now=time.time())
    assert await status(protocols=("sluice", f"ticket.{ticket}")) == 101
    revoked = Caller(key_id=KEY_ID, key_hash="another")
    ticket, _ = await make_ticket(kept.table, revoked, now=time.time())
    assert await status(f"?ticket={ticket}") == 401
    await sockets.at_rest()


async def test_a_flood(sockets: Sockets) -> None:
    """Messages over the rate are refused one by one, and then the socket is closed."""
    socket = await sockets.open()
    closed: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        for _ in range(2 * MESSAGES_BURST + 30):
            if socket.closed:
                break
            await socket.send_str("{}")
            await asyncio.sleep(0)
        while True:
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            closed.append(json.loads(message.data)["error"])
    assert "websocket_message_limit_reached" in {error["code"] for error in closed}
    await sockets.at_rest()


async def test_a_message_that_waited_too_long(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that Lambda kept for over a minute is not answered any more, and that is told."""
    monkeypatch.setattr(limits, "MESSAGE_AGE", -1.0)
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a"))
    [error] = await until_end(socket)
    assert (error["status"], error["error"]["code"]) == (503, "server_overloaded")
    await sockets.at_rest()


async def test_long_answers_are_gathered(sockets: Sockets, sagemaker: StandIn) -> None:
    """Tokens that come while a post is under way go together, and nothing is lost."""
    record = b'{"type":"delta","index":0,"delta":{"content":"ab "},"tokens":1}\n'
    sagemaker.script = [FIRST, *[part(record)] * 60, REST]
    socket = await sockets.open()
    await socket.send_json(create(max_output_tokens=90))
    events = await until_end(socket)
    assert text_of(events) == "Hello" + "ab " * 60 + " world"
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert len(deltas) < 30
    await sockets.at_rest()


class Dying(Gateway):
    """A function that is killed after a part of each response: it never ends one."""

    log = "runs"
    """What it leaves: a log that runs or has ended, or none."""

    def __init__(self, sockets: Sockets, kept: Kept, log: str) -> None:
        """Write as `kept` does."""
        super().__init__(sockets.settings, sockets.http, lambda: CREDENTIALS)
        self._kept, self.log = kept, log
        self.answers = asyncio.Event()

    async def _answer(self, socket: Any, name: str, asked: Any, context: Context) -> bool:
        head = head_of("responses_stream", response_id=name)
        if self.log == "runs":
            await self._kept.flush(await self._kept.begin(head), 0, events("Hello"))
        elif self.log == "ended":
            await self._kept.whole(head)
        self.answers.set()
        never: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        return await never


@pytest.mark.parametrize(
    ("log", "last"), [("runs", "response.failed"), ("ended", "response.completed"), ("", "error")]
)
async def test_a_function_that_is_killed(
    sockets: Sockets,
    sagemaker: StandIn,
    kept: Kept,
    monkeypatch: pytest.MonkeyPatch,
    log: str,
    last: str,
) -> None:
    """Its response ends with its own last event, and the next request of its lane begins."""
    begun: list[Any] = []

    async def invoke_later(_functions: Any, function: str, event: Any) -> None:
        assert function == "sockets:live"
        begun.append(event)

    monkeypatch.setattr(Functions, "invoke_later", invoke_later)
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    sockets.gateway = dying = Dying(sockets, kept, log)
    await socket.send_json(create(stream_id="a"))
    await dying.answers.wait()
    killed = sockets.invocations[-1]
    sockets.gateway = sockets.answering
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(2)
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    await sockets.told(killed)
    [found] = await until_end(socket)
    assert (found["type"], found["stream_id"]) == (last, "a")
    if log == "runs":
        assert found["response"]["error"]["code"] == "server_error"
        assert text_of([found]) == ""
    # Whoever tells it again, or begins it again, changes nothing: the first one who takes the
    # request answers it.
    await sockets.told(killed)
    event, *others = begun
    assert others in ([], [event])
    await sockets._invoke(event)
    await sockets._invoke(event)
    kinds = [event["type"] for event in await until_end(socket)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    state = (await sockets.answering._store.find(event["requestContext"]["connectionId"])).state
    assert not state.runs


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("call", ["claim", "changed"])
async def test_a_table_that_does_not_answer(
    sockets: Sockets,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    *,
    carried_out: bool,
) -> None:
    """The lane of the request is told once, and its next request is answered."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    well, failed = getattr(sockets.answering._store, call), list[bool]()

    async def fail_once(*args: Any, **kwargs: Any) -> Any:
        if failed:
            return await well(*args, **kwargs)
        failed.append(True)
        if carried_out:
            await well(*args, **kwargs)
        raise MeterUnavailable("it is down")

    monkeypatch.setattr(sockets.answering._store, call, fail_once)
    await socket.send_json(create(stream_id="a"))
    [error] = await until_end(socket)
    assert (error["status"], error["stream_id"]) == (503, "a")
    await sockets.at_rest()
    await socket.send_json(create(stream_id="a"))
    events = await until_end(socket)
    assert (events[0]["type"], text_of(events)) == ("response.created", "Hello world")
    await sockets.at_rest()


async def test_a_table_that_is_down_when_a_response_ends(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its function waits for the table, and then answers the next request of the lane."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a"))
    await until(socket, "response.output_text.delta")
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(2)
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    well, failures = sockets.answering._store.changed, [True] * 3

    async def fail(*args: Any, **kwargs: Any) -> Any:
        if failures:
            failures.pop()
            raise MeterUnavailable("it is down")
        return await well(*args, **kwargs)

    monkeypatch.setattr(sockets.answering._store, "changed", fail)
    held.set()
    kinds = [event["type"] for event in await until_end(socket, 2)]
    assert [kind for kind in kinds if kind in ENDS] == ["response.completed"] * 2
    await sockets.at_rest()


async def test_a_table_that_stays_down(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invocation fails, so that Lambda tells the function that brings the lane on."""
    monkeypatch.setattr(app, "_PATIENCE", -1.0)
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    well = sockets.answering._store.changed

    async def fail(connection_id: str, decide: Any, **kwargs: Any) -> Any:
        if "read" not in kwargs:
            raise MeterUnavailable("it is down")
        return await well(connection_id, decide, **kwargs)

    monkeypatch.setattr(sockets.answering._store, "changed", fail)
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(1)
    [task] = sockets.tasks
    with pytest.raises(app.Unsaved):
        await task
    kinds = [event["type"] for event in await until_end(socket)]
    assert kinds[-1] == "response.completed"


async def test_a_message_for_which_no_function_was_free(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane is told, whether it came as a message or as a request whose turn had come."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    event: dict[str, Any] = {}

    async def lost(event: dict[str, Any]) -> None:
        sockets.invocations.append((str(uuid.uuid4()), event))

    monkeypatch.setattr(sockets, "_invoke", lost)
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(1)
    await sockets.at_rest()
    event = sockets.invocations[-1][1]
    monkeypatch.undo()
    await sockets.told(("r1", event), begun=False)
    [error] = await until_end(socket)
    assert (error["error"]["code"], error["stream_id"]) == ("server_overloaded", "a")
    await sockets.at_rest()


async def test_lambda_does_not_take_the_next_request(
    sockets: Sockets, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests that wait in a lane are refused if no function can be asked to answer them."""

    async def invoke_later(_functions: Any, _function: str, _event: Any) -> None:
        raise NotInvoked("TooManyRequestsException")

    monkeypatch.setattr(Functions, "invoke_later", invoke_later)
    socket = await sockets.open()
    sockets.gateway = dying = Dying(sockets, kept, "")
    for count in range(3):
        await socket.send_json(create(stream_id="a"))
        await sockets.invoked(count + 1)
    await dying.answers.wait()
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    for invocation in sockets.invocations[-3:]:
        await sockets.told(invocation)
    errors = await until_end(socket, 3)
    assert [error["error"]["code"] for error in errors] == [
        "interrupted",
        *["service_unavailable"] * 2,
    ]
