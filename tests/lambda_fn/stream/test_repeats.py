"""Repeats of logged requests over the application: they get the response that they have already."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.metering.keys import account_key
from lambda_fn.stream import repeats, resume
from lambda_fn.stream_log import table_log
from lambda_fn.stream_log.heads import open_head
from lambda_fn.stream_log.identities import claim
from lambda_fn.stream_log.keys import SLOTS, head_key
from tests.support.function import (
    FIRST,
    KEY_ID,
    REST,
    Call,
    Reply,
    StandIn,
    exception_frame,
    part,
)
from tests.support.replies import CHAT, STREAM, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")
KEYED = {"idempotency-key": "k"}
RETRY = {"x-stainless-retry-count": "1"}
CACHED = {**STREAM, "sluice": {"cache": 60}}
DURABLE = {**STREAM, "sluice": {"durable": True}}
FORMS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("/v1/chat/completions", STREAM, {}),
    ("/v1/chat/completions", CHAT, {}),
    ("/v1/chat/completions", CHAT, {"accept": "text/plain"}),
    ("/v1/completions", {"model": "m", "prompt": "Hi", "stream": True}, {}),
    ("/v1/messages", {**STREAM, "max_tokens": 9}, {}),
]


@pytest.fixture
def logging(make_call: Callable[..., Call], streams: Any) -> Call:
    """Return an application that logs what asks for it."""
    return make_call(stream_table=streams.name)


def spent(items: Any) -> dict[str, Any]:
    """Return what the key was charged, and what is held for it."""
    item = items.get_item(Key=account_key(KEY_ID))["Item"]
    names = ("requests", "prompt_tokens", "completion_tokens", "cost", "in_flight")
    return {name: item.get(name) for name in names}


def replayed(reply: Reply) -> bool:
    """Return whether a response is said to be one that was generated before."""
    return reply.headers.get("x-sluice-replayed") == "true"


def heads(streams: Any) -> list[Any]:
    """Return the heads in StreamTable."""
    return [it for it in streams.scan(ConsistentRead=True)["Items"] if it["sk"] == "HEAD"]


def identities(streams: Any) -> list[Any]:
    """Return the identities in StreamTable."""
    return [it for it in streams.scan(ConsistentRead=True)["Items"] if it["sk"] == "I"]


def readers(streams: Any) -> int:
    """Return how many slots of readers there are in StreamTable."""
    return sum("READER" in it["sk"] for it in streams.scan(ConsistentRead=True)["Items"])


def claims(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return an event that is set when an identity was written."""
    claimed = asyncio.Event()

    async def noted(*args: Any, **more: Any) -> Any:
        found = await claim(*args, **more)
        claimed.set()
        return found

    monkeypatch.setattr(repeats, "claim", noted)
    return claimed


@pytest.mark.parametrize(("path", "body", "headers"), FORMS)
async def test_a_repeat_gets_the_same_bytes_and_costs_nothing(
    logging: Call,
    sagemaker: StandIn,
    items: Any,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
) -> None:
    """With an Idempotency-Key, each form of a response is generated once, and billed once."""
    first = await logging(path=path, body=body, more={**headers, **KEYED})
    assert (first.status, replayed(first)) == (200, False)
    before = spent(items)
    again = await logging(path=path, body=body, more={**headers, **KEYED})
    assert (again.status, again.body, again.whole) == (200, first.body, True)
    assert replayed(again)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-sluice-stream"] == first.headers["x-sluice-stream"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert spent(items) == before
    assert len(sagemaker.bodies) == 1


async def attached(logging: Call) -> tuple[Reply, Reply, asyncio.Future[Any]]:
    """Return a response that runs, that of a repeat which follows it, and the end of both."""
    replies, calls = (Reply(), Reply()), []
    for reply in replies:
        calls.append(asyncio.ensure_future(logging(body=STREAM, more=KEYED, reply=reply)))
        await reply.until(lambda reply=reply: "Hello" in text(reply))  # type: ignore[misc]
    return *replies, asyncio.gather(*calls)


async def test_a_repeat_is_attached_to_what_runs(
    logging: Call, sagemaker: StandIn, items: Any
) -> None:
    """A repeat of a running response gets it from its beginning, and on to its end."""
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    first, again, ended = await attached(logging)
    go_on.set()
    await ended
    assert again.body == first.body
    assert len(sagemaker.bodies) == 1
    assert spent(items)["completion_tokens"] == 2


@pytest.mark.parametrize(("body", "more"), [(CACHED, {}), (STREAM, KEYED), (CHAT, KEYED)])
async def test_many_repeats_at_once(
    logging: Call,
    sagemaker: StandIn,
    streams: Any,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
    more: dict[str, str],
) -> None:
    """Each gets the whole response, though more of them follow it than a response has slots."""
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.0)
    monkeypatch.setattr(limits, "LOG_POLL", 0.01)
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    replies = [Reply() for _ in range(9)]
    running = [asyncio.ensure_future(logging(body=body, more=more, reply=it)) for it in replies]
    if body is not CHAT:
        for reply in replies:
            await reply.until(lambda reply=reply: "Hello" in text(reply))  # type: ignore[misc]
    while readers(streams) < SLOTS:  # noqa: ASYNC110 - a table has no events
        await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.gather(*running)
    assert {(it.status, it.whole, it.body) for it in replies} == {(200, True, replies[0].body)}
    assert sum(map(replayed, replies)) == 8
    assert len(sagemaker.bodies) == 1


@pytest.mark.parametrize(
    ("path", "body", "end"),
    [
        ("/v1/chat/completions", STREAM, b"rest_elsewhere"),
        ("/v1/messages", {**STREAM, "max_tokens": 9}, b"event: error"),
        ("/v1/responses", {"model": "m", "input": "Hi", "stream": True}, b"response.failed"),
        (
            "/v1/responses",
            {"model": "m", "input": "Hi", "stream": True, "background": True},
            b"response.output_text.delta",
        ),
    ],
)
async def test_a_repeat_that_cannot_get_the_rest_is_told(
    logging: Call,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    end: bytes,
) -> None:
    """Its stream ends with an error, as it does not know that it reads a log.

    The client of a background response knows, so its stream ends without one.
    """
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    first, again = Reply(), Reply()
    running = asyncio.ensure_future(logging(path=path, body=body, more=KEYED, reply=first))
    await first.until(lambda: b"Hello" in first.body)
    now = time.monotonic()
    monkeypatch.setattr(resume, "_deadline", lambda _: now + 1)
    await logging(path=path, body=body, more=KEYED, reply=again)
    go_on.set()
    await running
    assert (again.status, again.whole) == (200, True)
    assert b"Hello" in again.body
    last = b"".join(again.body.rstrip().split(b"\n\n")[-2:])
    assert end in last
    assert (b"failed" in last or b"rror" in last) is not ("background" in body)


async def test_the_repeats_of_a_key_are_bounded(
    make_call: Callable[..., Call], sagemaker: StandIn, streams: Any
) -> None:
    """A key may not keep all environments by repeats of one running response."""
    logging = make_call(stream_table=streams.name, recall_per_key=1)
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    first, again, ended = await attached(logging)
    refused = await logging(body=STREAM, more=KEYED)
    assert (refused.status, refused.error["code"]) == (429, "readers_limit_reached")
    go_on.set()
    await ended
    assert (await logging(body=STREAM, more=KEYED)).body == again.body == first.body


async def test_a_repeat_of_a_background_request_returns_at_once(
    logging: Call, sagemaker: StandIn
) -> None:
    """While the response runs, it is told as it stands, and afterwards whole."""
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    body = {"model": "m", "input": "Hi", "background": True}
    first = Reply()
    running = asyncio.ensure_future(
        logging(path="/v1/responses", body=body, more=KEYED, reply=first)
    )
    await first.until(lambda: bool(first.body))
    again = await logging(path="/v1/responses", body=body, more=KEYED)
    states = [json.loads(it.body) for it in (first, again)]
    assert states[0]["id"] == states[1]["id"]
    assert states[1]["status"] == "in_progress"
    assert replayed(again)
    go_on.set()
    await running
    ended = await logging(path="/v1/responses", body=body, more=KEYED)
    assert json.loads(ended.body)["status"] == "completed"
    assert len(sagemaker.bodies) == 1


@pytest.mark.parametrize("more", [KEYED, RETRY])
async def test_an_sdk_gets_the_rest_after_a_cut(
    logging: Call, sagemaker: StandIn, more: dict[str, str]
) -> None:
    """A retry of a durable response gets what its first try has generated, also after it left."""
    first = {} if more is RETRY else more
    reply = await logging(body=DURABLE, more=first)
    again = await logging(body=DURABLE, more=more)
    assert replayed(again)
    assert again.body == reply.body
    assert len(sagemaker.bodies) == 1


async def test_the_same_prompt_twice_gives_two_answers(logging: Call, sagemaker: StandIn) -> None:
    """Without a key and a retry's number, an equal request is a new one. A retry gets the last."""
    replies = [await logging(body=DURABLE) for _ in range(2)]
    assert not any(map(replayed, replies))
    again = await logging(body=DURABLE, more=RETRY)
    assert again.headers["x-sluice-stream"] == replies[1].headers["x-sluice-stream"]
    assert len(sagemaker.bodies) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"body": {**STREAM, "seed": 1}},
        {"body": CHAT},
        {"more": {**KEYED, "x-sluice-buffer": "word"}},
        {"path": "/v1/messages", "body": {**STREAM, "max_tokens": 9}},
    ],
)
async def test_a_key_belongs_to_one_request(
    logging: Call, sagemaker: StandIn, other: dict[str, Any]
) -> None:
    """The same Idempotency-Key with another body, path or form is refused, and spends nothing."""
    await logging(body=STREAM, more=KEYED)
    reply = await logging(**{"body": STREAM, "more": KEYED, **other})
    assert reply.status == 409
    assert reply.headers["x-should-retry"] == "false"
    if "path" not in other:
        assert reply.error["code"] == "idempotency_key_reused"
    assert len(sagemaker.bodies) == 1


@pytest.mark.parametrize(
    ("script", "status"), [([None], 502), ([FIRST, None], 200), ([exception_frame("x")], 502)]
)
async def test_what_failed_is_generated_again(
    logging: Call, sagemaker: StandIn, streams: Any, script: list[Any], status: int
) -> None:
    """A response that failed or was cut is no answer to a repeat. Its identity moves."""
    sagemaker.script = script
    first = await logging(body=STREAM, more=KEYED)
    assert first.status == status
    sagemaker.script = [FIRST, REST]
    again = await logging(body=STREAM, more=KEYED)
    assert (again.status, replayed(again), text(again)) == (200, False, "Hello world")
    third = await logging(body=STREAM, more=KEYED)
    assert replayed(third)
    assert third.body == again.body
    assert len(identities(streams)) == 1


async def test_two_repeats_at_once_generate_once(
    logging: Call, sagemaker: StandIn, streams: Any, items: Any
) -> None:
    """Of equal requests at the same time one is generated. The others end their own heads."""
    replies = await asyncio.gather(*(logging(body=STREAM, more=KEYED) for _ in range(4)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert sorted(map(replayed, replies)) == [False, True, True, True]
    assert len(sagemaker.bodies) == 1
    statuses = sorted(it["status"] for it in heads(streams))
    assert statuses.count("completed") == 1
    assert set(statuses) <= {"completed", "cancelled"}
    after = spent(items)
    assert (after["requests"], after["completion_tokens"], after["in_flight"]) == (1, 2, {})


async def test_another_key_gets_nothing_of_it(
    logging: Call, sagemaker: StandIn, items: Any
) -> None:
    """Identities belong to the key that made them."""
    from lambda_fn.ids import new_key
    from lambda_fn.metering import accounts

    other = new_key()
    items.put_item(Item=accounts.new_account(other, name="other", now=1))
    await logging(body=CACHED, more=KEYED)
    reply = await logging(body=CACHED, more=KEYED, key=other)
    assert (reply.status, replayed(reply)) == (200, False)
    assert len(sagemaker.bodies) == 2


async def test_a_plain_retry_of_what_is_not_logged(logging: Call, sagemaker: StandIn) -> None:
    """With the persistence `asked`, a plain retry is refused while its first try runs."""
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    reply = Reply()
    running = asyncio.ensure_future(logging(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    again = await logging(body=STREAM, more=RETRY)
    assert (again.status, again.error["code"]) == (409, "request_running")
    go_on.set()
    await running


async def test_a_repeat_of_what_runs_without_its_log(
    make_call: Callable[..., Call],
    streams: Any,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    items: Any,
) -> None:
    """A first try whose log could not be opened is not generated twice, with or without a log."""
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    unlogged = make_call(stream_table="missing")
    reply = Reply()
    running = asyncio.ensure_future(unlogged(body=STREAM, more=KEYED, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    assert reply.headers["x-sluice-log"] == "off"
    monkeypatch.setattr(limits, "LOG_OPEN_TIMEOUT", 0.0)  # it began long ago
    again = await unlogged(body=STREAM, more=KEYED)
    assert (again.status, again.error["code"]) == (409, "request_running")
    assert ledger_item(items, again)["outcome"] == "refused"
    go_on.set()
    await running
    assert len(sagemaker.bodies) == 1


async def test_an_identity_may_name_what_has_no_log(
    make_call: Callable[..., Call],
    streams: Any,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A running response without a log is not generated twice, even if its identity was written."""
    call = make_call(stream_table=streams.name, persistence="all")
    go_on = asyncio.Event()

    async def fail(*args: Any, **more: Any) -> None:
        await claimed.wait()
        raise MeterUnavailable("the head cannot be written")

    with monkeypatch.context() as patched:
        claimed = claims(patched)
        patched.setattr(table_log, "open_head", fail)
        sagemaker.script = [FIRST, go_on, REST]
        reply = Reply()
        running = asyncio.ensure_future(call(body=STREAM, reply=reply))
        await reply.until(lambda: "Hello" in text(reply))
    assert (len(heads(streams)), len(identities(streams))) == (0, 1)
    monkeypatch.setattr(repeats, "request_time", lambda _: 0.0)  # it began long ago
    again = await call(body=STREAM, more=RETRY)
    assert (again.status, again.error["code"]) == (409, "request_running")
    go_on.set()
    await running
    assert len(sagemaker.bodies) == 1


async def test_a_first_request_writes_head_and_identity_at_once(
    logging: Call, streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first token does not wait for one write after the other."""
    claimed = claims(monkeypatch)

    async def open_later(*args: Any, **more: Any) -> None:
        await claimed.wait()
        await open_head(*args, **more)

    monkeypatch.setattr(table_log, "open_head", open_later)
    reply = await logging(body=DURABLE)
    assert (reply.status, reply.headers["x-sluice-stream"]) == (200, heads(streams)[0]["pk"][2:])


async def test_an_identity_that_cannot_be_written(
    logging: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A durable response that its repeats would not find is refused, and its run cancelled.

    The model is not asked for the next ones.
    """

    async def fail(*_: Any, **__: Any) -> None:
        raise MeterUnavailable("the identity cannot be written")

    monkeypatch.setattr(repeats, "claim", fail)
    reply = await logging(body=DURABLE)
    assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
    assert sagemaker.cancelled == [body["sluice"]["request_id"] for body in sagemaker.bodies]
    for _ in range(2):
        assert (await logging(body=DURABLE)).status == 503
        assert len(sagemaker.bodies) == 1


async def test_an_identity_without_a_head_is_given_up(
    make_call: Callable[..., Call], streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the head cannot be written, the write of the identity does not go on."""
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def hang(*_: Any, **__: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    async def fail(*_: Any, **__: Any) -> None:
        await begun.wait()
        raise MeterUnavailable("the head cannot be written")

    monkeypatch.setattr(repeats, "claim", hang)
    monkeypatch.setattr(table_log, "open_head", fail)
    reply = await make_call(stream_table=streams.name, persistence="all")(body=STREAM)
    assert (reply.status, reply.headers["x-sluice-log"]) == (200, "off")
    assert given_up.is_set()


async def test_a_repeat_meets_a_head_that_is_being_written(
    logging: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat that finds the identity before the head is attached once the head is there."""
    claimed, written, repeated = claims(monkeypatch), asyncio.Event(), asyncio.Event()

    async def open_slowly(*args: Any, **more: Any) -> None:
        if claimed.is_set():  # the repeat's
            repeated.set()
            await written.wait()
            await open_head(*args, **more)
        else:
            await repeated.wait()
            await open_head(*args, **more)
            written.set()

    monkeypatch.setattr(table_log, "open_head", open_slowly)
    first = asyncio.ensure_future(logging(body=DURABLE))
    await claimed.wait()
    again = await logging(body=DURABLE, more=RETRY)
    assert replayed(again)
    assert again.body == (await first).body
    assert len(sagemaker.bodies) == 1


async def test_a_deleted_response_is_generated_again(
    logging: Call, sagemaker: StandIn, streams: Any
) -> None:
    """A response that was deleted, or is over its time, does not exist for repeats."""
    first = await logging(body=STREAM, more=KEYED)
    streams.update_item(
        Key=head_key(first.headers["x-sluice-stream"]),
        UpdateExpression="SET deleted = :now",
        ExpressionAttributeValues={":now": 1},
    )
    again = await logging(body=STREAM, more=KEYED)
    assert (again.status, replayed(again)) == (200, False)
    assert len(sagemaker.bodies) == 2


async def test_a_dead_producer_is_replaced(logging: Call, sagemaker: StandIn, streams: Any) -> None:
    """A response whose producer has died is ended, and generated again."""
    first = await logging(body=STREAM, more=KEYED)
    name = first.headers["x-sluice-stream"]
    streams.update_item(
        Key=head_key(name),
        UpdateExpression="SET #status = :running, lease = :old REMOVE ended, #event, ended_by, #l",
        ExpressionAttributeNames={"#status": "status", "#event": "event", "#l": "last"},
        ExpressionAttributeValues={":running": "in_progress", ":old": 1},
    )
    again = await logging(body=STREAM, more=KEYED)
    assert (again.status, replayed(again)) == (200, False)
    head = streams.get_item(Key=head_key(name))["Item"]
    assert json.loads(head["event"])["code"] == "interrupted"


async def test_a_replay_counts_as_a_request(logging: Call, sagemaker: StandIn, items: Any) -> None:
    """A replay takes one of the requests per minute, and no budget of tokens."""
    items.update_item(
        Key=account_key(KEY_ID),
        UpdateExpression="SET requests_minute = :two",
        ExpressionAttributeValues={":two": 2},
    )
    replies = [await logging(body=STREAM, more=KEYED) for _ in range(3)]
    # The minute of the clock may end between two of them, which begins a new count.
    assert [reply.status for reply in replies] in ([200, 200, 429], [200, 200, 200])
    left = [reply.headers["x-ratelimit-remaining-requests"] for reply in replies]
    assert left in (["1", "0", "0"], ["1", "1", "0"], ["1", "0", "1"])
    assert len(sagemaker.bodies) == 1


async def test_a_model_that_the_key_may_no_longer_use(
    logging: Call, sagemaker: StandIn, items: Any
) -> None:
    """A replay needs the right to the model, like a new response."""
    await logging(body=STREAM, more=KEYED)
    items.update_item(
        Key=account_key(KEY_ID),
        UpdateExpression="SET models = :others",
        ExpressionAttributeValues={":others": ["other"]},
    )
    reply = await logging(body=STREAM, more=KEYED)
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


async def test_a_hit_of_the_cache(logging: Call, sagemaker: StandIn, items: Any) -> None:
    """A request with `cache` gets the response of an equal one, with any Idempotency-Key."""
    first = await logging(body=CACHED)
    before = spent(items)
    for more in ({}, KEYED, KEYED, {"idempotency-key": "other"}, RETRY):
        again = await logging(body=CACHED, more=more)
        assert (again.status, again.body, replayed(again)) == (200, first.body, True)
    assert spent(items) == before
    assert len(sagemaker.bodies) == 1
    assert not replayed(await logging(body=DURABLE))


async def test_equal_requests_of_the_cache_at_once_generate_once(
    logging: Call, sagemaker: StandIn
) -> None:
    """Requests with `cache` that come at the same time share one response."""
    replies = await asyncio.gather(*(logging(body=CACHED) for _ in range(4)))
    assert len({reply.body for reply in replies}) == 1
    assert sorted(map(replayed, replies)) == [False, True, True, True]
    assert len(sagemaker.bodies) == 1


@pytest.mark.parametrize("what", ["age", "revision", "failed"])
async def test_a_miss_of_the_cache(
    make_call: Callable[..., Call],
    logging: Call,
    sagemaker: StandIn,
    streams: Any,
    what: str,
) -> None:
    """A response that is too old, of another configuration of the model, or failed is no hit."""
    if what == "failed":
        sagemaker.script = [FIRST, None]
    first = await logging(body=CACHED)
    call = logging
    if what == "age":
        streams.update_item(
            Key=head_key(first.headers["x-sluice-stream"]),
            UpdateExpression="SET created = created - :minute",
            ExpressionAttributeValues={":minute": 61},
        )
    elif what == "revision":
        from lambda_fn.settings import Model

        models = {"m": Model(endpoint="endpoint-1", context_tokens=101)}
        call = make_call(stream_table=streams.name, models=models)
    sagemaker.script = [FIRST, REST]
    again = await call(body=CACHED)
    assert (again.status, replayed(again)) == (200, False)
    assert replayed(await call(body=CACHED))


async def test_the_cache_has_what_the_key_redacts_now(
    make_call: Callable[..., Call], streams: Any, sagemaker: StandIn, items: Any
) -> None:
    """A key that redacts more gets no answer of before. Each environment knows what it redacts."""
    seen_before = make_call(stream_table=streams.name)
    await seen_before(body=CACHED)
    change = {"Value": ["email"], "Action": "PUT"}
    items.update_item(Key=account_key(KEY_ID), AttributeUpdates={"redact": change})
    assert not replayed(await seen_before(body=CACHED))
    assert replayed(await make_call(stream_table=streams.name)(body=CACHED))
    assert len(sagemaker.bodies) == 2


@pytest.mark.parametrize(
    ("settings", "sluice"),
    [({"persistence": "off"}, {"cache": 60}), ({}, {"cache": 60, "durable": False})],
)
async def test_a_cache_that_keeps_nothing(
    make_call: Callable[..., Call],
    streams: Any,
    sagemaker: StandIn,
    settings: dict[str, Any],
    sluice: dict[str, Any],
) -> None:
    """`cache` is refused where the response would not be kept."""
    call = make_call(stream_table=streams.name, **settings)
    reply = await call(body={**STREAM, "sluice": sluice})
    assert (reply.status, reply.error["param"]) == (400, "sluice.cache")
    assert sagemaker.bodies == []


async def test_an_answer_that_a_budget_has_ended_is_not_kept_for_others(
    logging: Call, sagemaker: StandIn, streams: Any
) -> None:
    """What this service ends early is no answer to another request, and is to its own retry."""
    late = part(
        b'{"type":"error","code":"deadline_exceeded","message":"late"}\n'
    )  # the container's own deadline
    sagemaker.script = [FIRST, late]
    first = await logging(body=CACHED, more=KEYED)
    assert '"length"' in first.body.decode()
    sagemaker.script = [FIRST, REST]
    assert replayed(await logging(body=CACHED, more=KEYED))
    assert not replayed(await logging(body=CACHED))


async def test_a_request_that_is_refused_leaves_no_identity(
    logging: Call, sagemaker: StandIn, streams: Any
) -> None:
    """A key without the right to the model writes nothing into StreamTable."""
    reply = await logging(body={**STREAM, "model": "none"}, more=KEYED)
    assert reply.status == 404
    assert streams.scan()["Items"] == []
