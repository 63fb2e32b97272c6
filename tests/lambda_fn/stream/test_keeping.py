"""A log is opened beside the admission of its request, if that is likely to succeed."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.errors import RateLimited
from lambda_fn.http.client import Client
from lambda_fn.metering.keys import SERVICE_KEY, account_key
from lambda_fn.settings import Moderation
from lambda_fn.stream import admit, keeping
from lambda_fn.stream.carrier import AsgiCarrier
from lambda_fn.stream.key_cache import KeyCache
from lambda_fn.stream_log import results, table_log
from lambda_fn.stream_log.heads import cancel_head, end_segment, open_head
from lambda_fn.stream_log.removal import bury
from tests.support.function import CREDENTIALS, KEY_ID, Call, Reply, StandIn
from tests.support.guardrail import BAD
from tests.support.replies import CHAT, STREAM, ledger_item

pytestmark = pytest.mark.usefixtures("account")
DURABLE_ALONE = {"sluice": {"durable": True}}
DURABLE = {**STREAM, **DURABLE_ALONE}
RETRY = {"x-stainless-retry-count": "1"}
RESPONSE = {"model": "m", "input": "Hi", "stream": True, "store": False, **DURABLE_ALONE}
ECHO = {"model": "m", "prompt": "Hi", "stream": True, "echo": True, **DURABLE_ALONE}
MESSAGE = {
    "model": "m",
    "messages": CHAT["messages"],
    "max_tokens": 9,
    "stop_sequences": ["So"],
    **DURABLE_ALONE,
}


@pytest.fixture
def logging(make_call: Callable[..., Call], streams: Any) -> Call:
    """Return an application that logs what asks for it."""
    return make_call(stream_table=streams.name)


@pytest.fixture
def log_table(moto_url: str, http: Client, streams: Any) -> Table:
    """Return StreamTable as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


def kept(streams: Any) -> list[str]:
    """Return the sort keys of what is in StreamTable, but for identities and what was removed."""
    items = streams.scan(ConsistentRead=True)["Items"]
    return sorted(str(it["sk"]) for it in items if it["sk"] != "I" and "deleted" not in it)


def allow(items: Any, model: str) -> None:
    """Restrict the key to one model."""
    items.update_item(
        Key=account_key(KEY_ID),
        UpdateExpression="SET models = :models",
        ExpressionAttributeValues={":models": [model]},
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return an event that is set when a head was written."""
    written = asyncio.Event()

    async def noted(*args: Any, **more: Any) -> None:
        await open_head(*args, **more)
        written.set()

    for module in (table_log, results):
        monkeypatch.setattr(module, "open_head", noted)
    return written


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Return two events: a hold is asked for; it may be placed. The second is set at first."""
    asked, may = asyncio.Event(), asyncio.Event()
    may.set()
    place = admit.Gate._reserve

    async def reserve(*args: Any, **more: Any) -> Any:
        asked.set()
        await may.wait()
        return await place(*args, **more)

    monkeypatch.setattr(admit.Gate, "_reserve", reserve)
    return asked, may


async def test_the_head_is_written_beside_the_admission(
    logging: Call,
    sagemaker: StandIn,
    opened: asyncio.Event,
    holding: tuple[asyncio.Event, asyncio.Event],
) -> None:
    """The first token of a key that was admitted before does not wait for one after the other."""
    await logging(body=CHAT)
    sagemaker.bodies.clear()
    _, may = holding
    may.clear()
    running = asyncio.ensure_future(logging(body=DURABLE))
    await opened.wait()
    assert sagemaker.bodies == []  # nothing is spent before the hold is placed
    may.set()
    reply = await running
    assert (reply.status, "x-sluice-stream" in reply.headers) == (200, True)


async def test_the_model_waits_for_the_head(
    logging: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is asked only when the head is written, also beside the admission."""
    await logging(body=CHAT)
    sagemaker.bodies.clear()
    seen: list[int] = []
    place = admit.Gate.admit
    admitted = asyncio.Event()

    async def admit_it(*args: Any, **more: Any) -> Any:
        try:
            return await place(*args, **more)
        finally:
            admitted.set()

    async def open_late(*args: Any, **more: Any) -> None:
        await admitted.wait()
        for _ in range(20):
            await asyncio.sleep(0.001)
        seen.append(len(sagemaker.bodies))
        await open_head(*args, **more)

    monkeypatch.setattr(admit.Gate, "admit", admit_it)
    monkeypatch.setattr(table_log, "open_head", open_late)
    reply = await logging(body=DURABLE)
    assert (reply.status, seen, len(sagemaker.bodies)) == (200, [0], 1)


@pytest.mark.parametrize(
    ("path", "body", "is_new"),
    [
        ("/v1/chat/completions", {**DURABLE, "store": True}, False),
        ("/v1/responses", RESPONSE, False),
        ("/v1/completions", ECHO, False),
        ("/v1/messages", MESSAGE, False),
        ("/v1/chat/completions", DURABLE, True),
    ],
)
async def test_what_is_written_after_the_admission(
    logging: Call,
    streams: Any,
    opened: asyncio.Event,
    holding: tuple[asyncio.Event, asyncio.Event],
    path: str,
    body: Any,
    *,
    is_new: bool,
) -> None:
    """The texts of a request wait until its ledger item exists, and so does a new key's head."""
    if not is_new:
        await logging(body=CHAT)
    asked, may = holding
    asked.clear()
    may.clear()
    running = asyncio.ensure_future(logging(path=path, body=body))
    await asked.wait()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert kept(streams) == []
    assert not opened.is_set()
    may.set()
    assert (await running).status == 200
    assert opened.is_set()


async def test_a_refused_request_leaves_no_head(
    logging: Call,
    items: Any,
    streams: Any,
    sagemaker: StandIn,
    opened: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its head is removed. The next request of the key writes none before it is admitted."""
    await logging(body=CHAT)
    sagemaker.bodies.clear()
    allow(items, "other")
    reply, before = Reply(), list[int]()

    async def noted(*args: Any, **more: Any) -> None:
        await bury(*args, **more)
        before.append(reply.status)

    monkeypatch.setattr(keeping, "bury", noted)
    await logging(body=DURABLE, reply=reply)
    assert (reply.status, opened.is_set(), kept(streams)) == (404, True, [])
    assert before == [0]  # the client could send it again as soon as it knows
    assert "x-sluice-stream" not in reply.headers
    opened.clear()
    reply = await logging(body=DURABLE)
    assert (reply.status, opened.is_set(), kept(streams)) == (404, False, [])
    assert sagemaker.bodies == []
    allow(items, "m")
    again = await logging(body=DURABLE, more=RETRY)  # its identity names what was removed
    assert (again.status, "x-sluice-replayed" in again.headers) == (200, False)
    assert len(sagemaker.bodies) == 1


async def test_a_stopped_service_writes_no_head(
    logging: Call, items: Any, streams: Any, opened: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an operator has stopped the service, and this process knows, nothing is written."""
    monkeypatch.setattr(limits, "CHECKPOINT", 0.0)  # the switch is read with each request
    await logging(body=CHAT)
    items.put_item(Item={**SERVICE_KEY, "stopped": 1, "reason": "Maintenance."})
    try:
        assert (await logging(body=CHAT)).status == 503
        monkeypatch.setattr(KeyCache, "was_admitted", lambda *_: True)
        reply = await logging(body=DURABLE)
    finally:
        items.delete_item(Key=SERVICE_KEY)
    assert (reply.status, opened.is_set(), kept(streams)) == (503, False, [])


async def test_a_prompt_that_is_blocked_leaves_no_head(
    make_call: Callable[..., Call], streams: Any, opened: asyncio.Event
) -> None:
    """A request that was admitted, and whose response does not begin, leaves none either."""
    rules = Moderation(words={"violence": (BAD,)})
    call = make_call(stream_table=streams.name, moderation=rules)
    await call(body=CHAT)
    reply = await call(body={**DURABLE, "messages": [{"role": "user", "content": BAD}]})
    assert (reply.status, opened.is_set(), kept(streams)) == (400, True, [])


async def test_an_owner_that_does_not_let_it_go_on(
    logging: Call, streams: Any, opened: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What carries the request may refuse it when it is admitted."""
    await logging(body=CHAT)

    async def refuse(_: AsgiCarrier) -> None:
        await opened.wait()
        raise RateLimited("no turn", code="no_turn")

    monkeypatch.setattr(AsgiCarrier, "admitted", refuse)
    reply = await logging(body=DURABLE)
    assert (reply.status, kept(streams)) == (429, [])


@pytest.mark.parametrize(
    ("module", "call", "left"), [(keeping, "bury", ["HEAD"]), (table_log, "open_head", [])]
)
async def test_a_table_that_is_down_beside_a_refusal(
    logging: Call,
    items: Any,
    streams: Any,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    call: str,
    left: list[str],
) -> None:
    """The client learns why its request was refused. A head that cannot be removed expires."""
    await logging(body=CHAT)
    allow(items, "other")

    async def fail(*_: Any, **__: Any) -> None:
        raise MeterUnavailable("down")

    monkeypatch.setattr(module, call, fail)
    assert (await logging(body=DURABLE)).status == 404
    assert kept(streams) == left


async def test_a_head_of_which_the_answer_is_lost(
    logging: Call, items: Any, streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is removed like one that is known to be written."""
    await logging(body=CHAT)
    allow(items, "other")

    async def unanswered(*args: Any, **more: Any) -> None:
        await open_head(*args, **more)
        raise MeterUnavailable("no answer")

    monkeypatch.setattr(table_log, "open_head", unanswered)
    assert (await logging(body=DURABLE)).status == 404
    assert kept(streams) == []


async def test_a_request_that_is_cancelled_in_its_admission(
    logging: Call,
    streams: Any,
    opened: asyncio.Event,
    holding: tuple[asyncio.Event, asyncio.Event],
) -> None:
    """If the task ends, as when the process does, its head is removed."""
    await logging(body=CHAT)
    asked, may = holding
    asked.clear()
    may.clear()
    running = asyncio.ensure_future(logging(body=DURABLE))
    await asked.wait()
    await opened.wait()
    running.cancel()
    await asyncio.wait([running])
    assert kept(streams) == []


async def test_a_response_that_is_cancelled_before_its_model_is_asked(
    logging: Call,
    log_table: Table,
    items: Any,
    streams: Any,
    sagemaker: StandIn,
    opened: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cancel that finds the head before the producer begins ends the request, unbilled."""
    await logging(body=CHAT)
    sagemaker.bodies.clear()
    monkeypatch.setattr(limits, "LOG_WATCH", 0.01)
    told, is_over = asyncio.Event(), table_log.TableLog._is_over

    def noted(*args: Any) -> bool:
        told.set()
        return is_over(*args)

    async def cancel(_: AsgiCarrier) -> None:
        await opened.wait()
        [name] = [it["pk"][2:] for it in streams.scan()["Items"] if it["sk"] == "HEAD"]
        head = await cancel_head(log_table, name, now=time.time())
        assert head is not None
        await end_segment(log_table, head)
        await told.wait()

    monkeypatch.setattr(table_log.TableLog, "_is_over", noted)
    monkeypatch.setattr(AsgiCarrier, "admitted", cancel)
    reply = await logging(body=DURABLE)
    assert (reply.status, reply.error["code"], sagemaker.bodies) == (499, "cancelled", [])
    item = ledger_item(items, reply)
    assert (item["outcome"], item.get("completion_tokens", 0)) == ("cancelled", 0)


async def test_the_same_prompt_again_beside_its_admission(
    logging: Call, sagemaker: StandIn
) -> None:
    """The response of an earlier request that is the same is not found any more."""
    await logging(body=CHAT)
    first = await logging(body=DURABLE)
    second = await logging(body=DURABLE)
    sagemaker.bodies.clear()
    again = await logging(body=DURABLE, more=RETRY)
    assert again.headers["x-sluice-stream"] == second.headers["x-sluice-stream"]
    assert again.headers["x-sluice-stream"] != first.headers["x-sluice-stream"]
    assert sagemaker.bodies == []


async def test_a_refused_request_leaves_the_identity_of_an_earlier_one(
    logging: Call, items: Any, sagemaker: StandIn
) -> None:
    """A retry of that one still finds its response."""
    await logging(body=CHAT)
    first = await logging(body=DURABLE)
    allow(items, "other")
    assert (await logging(body=DURABLE)).status == 404
    allow(items, "m")
    sagemaker.bodies.clear()
    again = await logging(body=DURABLE, more=RETRY)
    assert (again.body, sagemaker.bodies) == (first.body, [])


async def test_a_refused_request_leaves_no_identity(
    logging: Call, items: Any, streams: Any
) -> None:
    """What it has written there is cleared."""
    await logging(body=CHAT)
    allow(items, "other")
    assert (await logging(body=DURABLE)).status == 404
    named = [it["response_id"] for it in streams.scan()["Items"] if it["sk"] == "I"]
    assert named in ([], [""])
