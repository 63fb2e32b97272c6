"""Logged responses over the application: what is logged, and what its client sees of it."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.encode import encoder_of
from lambda_fn.event_log import Batch, error_of
from lambda_fn.events import End, Event, Failed
from lambda_fn.http.client import Client
from lambda_fn.metering import settlements
from lambda_fn.settings import Model
from lambda_fn.stream import logged
from lambda_fn.stream.sinks import ResponseBroken
from lambda_fn.stream_log import heads, results, table_log
from lambda_fn.stream_log.heads import StoredHead, cancel_head, end_segment, read_head
from lambda_fn.stream_log.reading import read_all
from tests.support.function import (
    CREDENTIALS,
    FIRST,
    HELLO,
    KEY_ID,
    REST,
    WORLD,
    Call,
    Got,
    Reply,
    StandIn,
    Stuck,
    lines,
    part,
)
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")
DURABLE = {**STREAM, "sluice": {"durable": True}}
COMPLETION = {"model": "m", "prompt": "Hi"}
MESSAGE = {"model": "m", "max_tokens": 9, "messages": CHAT["messages"]}
ON = {"sluice": {"durable": True}}


@pytest.fixture
def log_table(moto_url: str, http: Client, streams: Any) -> Table:
    """Return StreamTable as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


@pytest.fixture
def logging(make_call: Callable[..., Call], streams: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return an application that logs what asks for it. moto has all the time that it needs."""
    for name in ("LOG_OPEN_TIMEOUT", "LOG_GIVE_UP", "LOG_END_TIMEOUT"):
        monkeypatch.setattr(limits, name, 60.0)
    return make_call(stream_table=streams.name)


async def head_of(table: Table, reply: Reply) -> StoredHead:
    """Return the head that a response names."""
    found = await read_head(table, reply.headers["x-sluice-stream"], now=0)
    assert found is not None
    return found


async def stored(table: Table, reply: Reply) -> tuple[StoredHead, list[Event]]:
    """Return the head and the events of a response."""
    head = await head_of(table, reply)
    return head, [event for it in await read_all(table, head) for event in it.events]


def replayed(head: StoredHead, found: list[Event], after: int | None = None) -> bytes:
    """Return the bytes that a resumed client gets."""
    encoder = encoder_of(head.head, after)
    data = encoder.begin() + encoder.encode(found)
    if type(found[-1]) is Failed:
        data += encoder.fail(error_of(found[-1])) or b""
    return data


async def test_a_durable_response_is_logged(logging: Call, log_table: Table, items: Any) -> None:
    """What the client gets is in the log, with state, owner and counts of the response."""
    reply = await logging(body=DURABLE)
    assert reply.status == 200
    head, found = await stored(log_table, reply)
    assert (head.status, head.owner, head.kept) == ("completed", KEY_ID, "segments")
    assert (head.prompt_tokens, head.completion_tokens) == (4, 2)
    assert (head.endpoint, head.component, head.dialect) == ("endpoint-1", None, "sluice")
    assert head.expires == head.created + 24 * 3600
    assert type(found[-1]) is End
    assert replayed(head, found) == reply.body
    item = ledger_item(items, reply)
    assert (item["state"], item["outcome"], item["completion_tokens"]) == ("SETTLED", "complete", 2)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", DURABLE),
        ("/v1/completions", {**COMPLETION, **ON, "stream": True, "echo": True}),
        ("/v1/messages", {**MESSAGE, **ON, "stream": True}),
    ],
)
async def test_chunks_have_their_numbers(
    logging: Call, log_table: Table, path: str, body: Any
) -> None:
    """The chunks of a logged stream are numbered from 0, and it can be resumed after each."""
    reply = await logging(path=path, body=body)
    blocks = [block for block in reply.body.split(b"\n\n") if block and block != b"data: [DONE]"]
    data = [json.loads(block.partition(b"data: ")[2]) for block in blocks]
    assert [it["sluice"]["n"] for it in data] == list(range(len(data)))
    head, found = await stored(log_table, reply)
    for number in range(len(blocks)):
        tail = b"".join(block + b"\n\n" for block in blocks[number + 1 :])
        ending = b"" if path == "/v1/messages" else b"data: [DONE]\n\n"
        assert replayed(head, found, number) == tail + ending


async def test_text_is_resumed_by_its_bytes(logging: Call, log_table: Table) -> None:
    """A client of bare text resumes after the bytes that it has."""
    reply = await logging(body={**CHAT, **ON}, more={"accept": "text/plain"})
    assert reply.body == b"Hello world"
    head, found = await stored(log_table, reply)
    for count in range(len(reply.body) + 1):
        assert replayed(head, found, count) == reply.body[count:]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**CHAT, **ON}),
        ("/v1/completions", {**COMPLETION, **ON}),
        ("/v1/messages", {**MESSAGE, **ON}),
    ],
)
async def test_whole_bodies_are_logged(
    logging: Call, log_table: Table, path: str, body: Any
) -> None:
    """A response in one body is logged, too. It has no numbers."""
    reply = await logging(path=path, body=body)
    assert "sluice" not in json.loads(reply.body)
    assert replayed(*await stored(log_table, reply)) == reply.body


@pytest.mark.parametrize(
    ("persistence", "body", "headers", "is_logged"),
    [
        ("asked", STREAM, {}, False),
        ("asked", DURABLE, {}, True),
        ("asked", STREAM, {"idempotency-key": "k"}, True),
        ("asked", {**STREAM, "sluice": {"durable": False}}, {"idempotency-key": "k"}, False),
        ("all", STREAM, {}, True),
        ("all", {**STREAM, "sluice": {"durable": False}}, {}, False),
        ("off", STREAM, {"idempotency-key": "k"}, False),
    ],
)
async def test_what_is_logged(
    make_call: Callable[..., Call],
    streams: Any,
    persistence: str,
    body: Any,
    headers: dict[str, str],
    *,
    is_logged: bool,
) -> None:
    """The setting decides what is logged: nothing, what asks for it, or all."""
    call = make_call(stream_table=streams.name, persistence=persistence)
    reply = await call(body=body, more=headers)
    assert reply.status == 200
    assert ("x-sluice-stream" in reply.headers) == is_logged
    assert bool(streams.scan()["Items"]) == is_logged
    assert (b'"sluice"' in reply.body) == is_logged


@pytest.mark.parametrize("settings", [{}, {"stream_table": "t", "persistence": "off"}])
async def test_durable_needs_the_setting(
    make_call: Callable[..., Call], sagemaker: StandIn, settings: dict[str, Any]
) -> None:
    """A deployment that keeps nothing refuses `durable`, and names the setting."""
    reply = await make_call(**settings)(body=DURABLE)
    assert (reply.status, reply.error["param"]) == (400, "sluice.durable")
    assert "'persistence'" in reply.error["message"]
    assert sagemaker.bodies == []


@pytest.mark.parametrize(
    ("setting", "body", "refused"),
    [
        (None, DURABLE, True),
        (None, STREAM, False),
        ("refuse", STREAM, True),
        ("unlogged", DURABLE, False),
    ],
)
async def test_a_log_that_cannot_be_opened(
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    items: Any,
    setting: Any,
    body: Any,
    *,
    refused: bool,
) -> None:
    """Without a log the response is not sent, or it says that it has none."""
    call = make_call(
        stream_table="missing",
        persistence="all",
        on_log_failure=setting,
        fallbacks={"m": "n"},
        models={"m": _MODEL, "n": _MODEL},
    )
    reply = await call(body=body)
    if refused:
        assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
        assert len(sagemaker.bodies) == 1  # the fallback is not asked
        item = ledger_item(items, reply)
        assert (item["outcome"], item["cost"]) == ("refused", 0)
    else:
        assert (reply.status, reply.headers["x-sluice-log"]) == (200, "off")
        assert "x-sluice-stream" not in reply.headers
        assert b'"sluice"' not in reply.body
        assert ledger_item(items, reply)["outcome"] == "complete"


_MODEL = Model(endpoint="endpoint-1", context_tokens=100)


class Leaving(list[bytes]):
    """The pieces of a client that leaves after some of them."""

    def __init__(self, room: int) -> None:
        """Take the number of pieces."""
        super().__init__()
        self.room = room
        self.left = asyncio.Event()

    def append(self, data: bytes) -> None:
        """Take a piece, or leave."""
        if len(self) == self.room:
            self.left.set()
            raise ConnectionError
        super().append(data)


async def test_a_response_goes_on_without_its_client(
    logging: Call, log_table: Table, sagemaker: StandIn, items: Any
) -> None:
    """A client that leaves ends nothing: all is generated, logged and settled."""
    pieces = Leaving(1)
    reply = Reply(chunks=pieces)
    last = part(lines({"type": "finish", "index": 0, "finish_reason": "stop"}, {"type": "end"}))
    sagemaker.script = [
        FIRST,
        Got(reply),
        part(lines(WORLD)),
        pieces.left,
        part(lines(HELLO)),
        last,
    ]
    with pytest.raises(ConnectionError):
        await logging(body=DURABLE, reply=reply)
    head, found = await stored(log_table, reply)
    assert head.status == "completed"
    assert replayed(head, found).startswith(reply.body)
    assert ledger_item(items, reply)["outcome"] == "complete"
    assert ledger_item(items, reply)["completion_tokens"] == 3
    assert sagemaker.cancelled == []


async def test_a_slow_client_is_let_go(
    logging: Call,
    log_table: Table,
    sagemaker: StandIn,
    items: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that takes nothing is let go without a terminal event, and the response goes on."""
    monkeypatch.setattr(limits, "CLIENT_PATIENCE", 0.05)
    reply, stuck = Reply(), Stuck()
    sagemaker.script = [FIRST, Got(reply), part(lines(WORLD)), stuck.reached, REST]
    with pytest.raises(ResponseBroken, match="slow_client"):
        await logging(body=DURABLE, reply=reply, stuck=stuck)
    head, found = await stored(log_table, reply)
    assert head.status == "completed"
    assert not reply.whole
    assert replayed(head, found).startswith(reply.body)
    assert ledger_item(items, reply)["outcome"] == "complete"


async def test_a_client_that_stalls_after_a_silence_is_let_go(
    logging: Call, log_table: Table, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a client waits for the model, no timer looks at it; after that, one does again."""
    monkeypatch.setattr(limits, "CLIENT_PATIENCE", 0.05)
    reply, stuck, unwatched, watch = Reply(), Stuck(), asyncio.Event(), logged.Live._watch

    def note(live: logged.Live) -> None:
        watch(live)
        if not live._watched:
            unwatched.set()

    monkeypatch.setattr(logged.Live, "_watch", note)
    sagemaker.script = [FIRST, Got(reply), unwatched, part(lines(WORLD)), stuck.reached, REST]
    with pytest.raises(ResponseBroken, match="slow_client"):
        await logging(body=DURABLE, reply=reply, stuck=stuck)
    assert unwatched.is_set()
    assert (await head_of(log_table, reply)).status == "completed"


async def test_a_token_waits_for_a_full_log(
    logging: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that comes while its client waits is not delivered before the log lets it."""
    reply, asked, append = Reply(), asyncio.Event(), table_log.TableLog.append
    room: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def full(log: table_log.TableLog, batch: Batch) -> "asyncio.Future[None] | None":
        append(log, batch)
        if not batch[0]:
            return None
        asked.set()
        return room

    monkeypatch.setattr(table_log.TableLog, "append", full)
    sagemaker.script = [FIRST, Got(reply), part(lines(WORLD)), asked, REST]
    running = asyncio.ensure_future(logging(body=DURABLE, reply=reply))
    await asked.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    assert text(reply) == "Hello"
    room.set_result(None)
    await running
    assert (text(reply), reply.whole) == ("Hello world world", True)


async def test_a_client_far_behind_is_let_go(
    logging: Call, log_table: Table, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than so many events wait for a slow client."""
    monkeypatch.setattr(limits, "LIVE_EVENTS", 3)
    reply, stuck = Reply(), Stuck()
    more = [part(lines(WORLD))] * 20
    sagemaker.script = [FIRST, Got(reply), part(lines(WORLD)), stuck.reached, *more, REST]
    with pytest.raises(ResponseBroken, match="slow_client"):
        await logging(body=DURABLE, reply=reply, stuck=stuck)
    assert (await head_of(log_table, reply)).status == "completed"


@pytest.mark.parametrize("speaks", [True, False])
async def test_a_cancel_in_the_head_ends_the_response(
    logging: Call,
    log_table: Table,
    sagemaker: StandIn,
    items: Any,
    monkeypatch: pytest.MonkeyPatch,
    *,
    speaks: bool,
) -> None:
    """A response that is cancelled in its head ends for its client as the log says.

    It does so even if the model is silent.
    """
    written = asyncio.Event()

    async def put(*given: Any, **named: Any) -> Any:
        found = await heads.put_segment(*given, **named)
        written.set()
        return found

    monkeypatch.setattr(table_log, "put_segment", put)
    monkeypatch.setattr(limits, "LOG_WATCH", 0.02)
    sagemaker.script = [FIRST, asyncio.Event()] if speaks else [asyncio.Event()]
    reply = Reply()
    running = asyncio.ensure_future(logging(body=DURABLE, reply=reply))
    head = None
    while head is None:
        await asyncio.sleep(0.01)
        head = await _running(log_table, items)
    if speaks:
        await written.wait()
    cancelled = await cancel_head(log_table, head.response_id, now=time.time())
    assert cancelled is not None
    number, [event] = await end_segment(log_table, cancelled)
    await running
    _, found = await stored(log_table, reply)
    assert (len(found) - 1, found[-1]) == (number, event)
    assert type(event) is Failed
    assert (event.code, event.fenced) == ("cancelled", number)
    if speaks:
        assert events(reply)[-1]["error"]["code"] == "cancelled"
        assert events(reply)[-1]["sluice"]["n"] == events(reply)[-2]["sluice"]["n"] + 100_000
    else:
        assert (reply.status, reply.error["code"]) == (499, "cancelled")
    assert ledger_item(items, reply)["outcome"] == "cancelled"
    assert sagemaker.cancelled == [head.response_id]


async def _running(table: Table, items: Any) -> StoredHead | None:
    """Return the head of the only request in the ledger, if there is one."""
    for item in items.scan()["Items"]:
        if item["pk"].startswith("LEDGER#") and item["state"] == "OPEN":
            return await read_head(table, item["sk"], now=0)
    return None


async def test_a_lost_log_is_told(
    logging: Call,
    log_table: Table,
    sagemaker: StandIn,
    items: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the log is lost, its client is told, and gets the rest. The log ends as failed."""
    put, lost = heads.put_segment, asyncio.Event()

    async def fail(*given: Any, **named: Any) -> Any:
        if given[2].number and not given[2].is_end:
            asyncio.get_running_loop().call_soon(lost.set)
            raise MeterUnavailable("down")
        return await put(*given, **named)

    monkeypatch.setattr(table_log, "put_segment", fail)
    for name in ("LOG_FLUSH", "LOG_FLUSH_FIRST"):
        monkeypatch.setattr(limits, name, 0.0)
    reply = Reply()
    again = part(lines(WORLD))
    sagemaker.script = [FIRST, Got(reply), again, lost, again, Got(reply, 3), REST]
    await logging(body=DURABLE, reply=reply)
    chunks = events(reply)
    assert [it["sluice"] for it in chunks if it != "[DONE]" and "log" in it["sluice"]] == [
        {"log": "lost"}
    ]
    assert chunks[-1] == "[DONE]"
    assert text(reply) == "Hello world world world"
    head, found = await stored(log_table, reply)
    assert head.status == "failed"
    last = found[-1]
    assert type(last) is Failed
    assert (last.code, last.fenced) == ("log_unavailable", len(found) - 1)
    assert ledger_item(items, reply)["completion_tokens"] == 2  # as the model says
    assert ledger_item(items, reply)["outcome"] == "complete"


@pytest.mark.parametrize(("body", "is_told"), [(DURABLE, False), ({**CHAT, "store": True}, True)])
async def test_an_end_that_is_not_stored(
    logging: Call,
    log_table: Table,
    items: Any,
    monkeypatch: pytest.MonkeyPatch,
    body: Any,
    *,
    is_told: bool,
) -> None:
    """A request whose log has no end in time is settled, and the sweeper ends its log."""
    reply = await logging(body=body)
    assert not {"open", "due"} & ledger_item(items, reply).keys()

    async def fail(*_: Any, **__: Any) -> Any:
        raise MeterUnavailable("down")

    for module in (table_log, results):
        monkeypatch.setattr(module, "win", fail)
    reply = Reply()
    with contextlib.nullcontext() if is_told else pytest.raises(ResponseBroken, match="unended"):
        await logging(body=body, reply=reply)
    item = ledger_item(items, reply)
    assert (item["state"], item["outcome"], item["completion_tokens"]) == ("SETTLED", "complete", 2)
    assert {"open", "due"} <= item.keys()
    assert (await read_head(log_table, item["sk"], now=0)).status == "in_progress"  # type: ignore[union-attr] # it is there


async def test_a_logged_response_has_no_checkpoints(
    logging: Call,
    table: Table,
    items: Any,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It writes none, and still sees that an operator cancels it in the ledger."""
    monkeypatch.setattr(limits, "CHECKPOINT", 0.02)
    sagemaker.script = [FIRST, asyncio.Event()]
    reply = Reply()
    running = asyncio.ensure_future(logging(body=DURABLE, reply=reply))
    await reply.until_chunks(1)
    [item] = [it for it in items.scan()["Items"] if it.get("state") == "OPEN"]
    assert not {"checkpointed", "completion_tokens"} & item.keys()
    assert len(await settlements.cancel_all(table, KEY_ID, now=time.time())) == 1
    await running
    assert events(reply)[-1]["error"]["code"] == "cancelled"
    assert ledger_item(items, reply)["outcome"] == "cancelled"


async def test_a_failure_before_tokens_is_a_status(
    logging: Call, log_table: Table, sagemaker: StandIn
) -> None:
    """A model that fails at once is a 502, and its log says that it failed."""
    sagemaker.script = [None]
    reply = await logging(body=DURABLE)
    assert reply.status == 502
    head = await head_of(log_table, reply)
    assert (head.status, head.completion_tokens) == ("failed", 0)


async def test_the_model_answers_before_the_log(
    logging: Call, log_table: Table, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token waits for a write: the client has what the table has not."""
    for name in ("LOG_FLUSH", "LOG_FLUSH_FIRST"):
        monkeypatch.setattr(limits, name, 60.0)
    gate = asyncio.Event()
    reply = Reply()
    sagemaker.script = [FIRST, Got(reply), part(lines(WORLD)), gate, REST]
    running = asyncio.ensure_future(logging(body=DURABLE, reply=reply))
    await reply.until(lambda: text(reply) == "Hello world")
    head = await head_of(log_table, reply)
    assert await read_all(log_table, head) == []
    gate.set()
    await running


def test_a_completion_loads_no_storage() -> None:
    """The code of logs is loaded by the first logged response only."""
    code = (
        "import sys, lambda_fn.stream.main; "
        "print([it for it in sys.modules if 'stream_log' in it or 'logged' in it or "
        "'numbered' in it])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
