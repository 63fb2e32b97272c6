"""Background responses over the application: queued, run, let wait, started again, bounded."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.background.walk import start
from lambda_fn.encode.responses import output_of
from lambda_fn.errors import InsufficientQuota
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.metering.keys import account_key
from lambda_fn.settings import Background
from lambda_fn.stream import queueing
from lambda_fn.stream.admit import Switch
from lambda_fn.stream_log import places
from lambda_fn.stream_log.conversations import Conversations
from lambda_fn.stream_log.heads import StoredHead, cancel_head, end_segment, read_head
from lambda_fn.stream_log.results import Kept, read_kept
from tests.support.function import (
    CREDENTIALS,
    END,
    FINISH,
    FIRST,
    KEY_ID,
    USAGE,
    WHOLE,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.response_events import check_response, events_of, response_of

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/responses"
ASKED: dict[str, Any] = {"model": "m", "input": "Hi", "background": True}
FULL = part(lines({"type": "error", "code": "overloaded", "message": "Full."}))
REST = part(lines(FINISH, USAGE, END))


@pytest.fixture
def kept_table(moto_url: str, http: Client, streams: Any) -> Table:
    """Return StreamTable as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


@pytest.fixture
def asking(make_call: Callable[..., Call], streams: Any) -> Call:
    """Return an application that keeps responses."""
    return make_call(stream_table=streams.name)


def id_of(reply: Reply) -> str:
    """Return the id of a response, without its prefix."""
    body = reply.body
    response = response_of(body) if body.startswith(b"event") else json.loads(body)
    return str(response["id"]).removeprefix("resp_")


async def head_of(table: Table, name: str) -> StoredHead:
    """Return a head as it stands."""
    head = await read_head(table, name, now=time.time())
    assert head is not None
    return head


async def kept(table: Table, reply: Reply) -> Kept:
    """Return a response as it is kept."""
    found = await read_kept(table, id_of(reply), now=0)
    assert found is not None
    return found


async def taken(table: Table) -> dict[str | None, set[str]]:
    """Return the ids in all places, by key."""
    return {it.owner: set(it.answers) async for it in places.every(table)}


Requests = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def requests(items: Any) -> Requests:
    """Return what returns the ledger items that this test has made, the oldest first."""

    def found() -> list[dict[str, Any]]:
        return [it for it in items.scan()["Items"] if it["pk"].startswith("LEDGER#")]

    before = {it["sk"] for it in found()}
    return lambda: sorted((it for it in found() if it["sk"] not in before), key=lambda it: it["sk"])


async def started(table: Table, name: str) -> StoredHead:
    """Start a response that waits, as the keeper does, but do not call its function."""

    async def nothing(_: str) -> None:
        return

    assert await start(table, await head_of(table, name), nothing, now=time.time())
    return await head_of(table, name)


async def test_a_background_response(
    asking: Call, kept_table: Table, sagemaker: StandIn, requests: Requests
) -> None:
    """Its client has its answer before the model's first token, and reads the response later."""
    gate, answered = asyncio.Event(), Reply()
    sagemaker.script = [gate, FIRST, REST]
    asked = asyncio.ensure_future(asking(path=PATH, body=ASKED, reply=answered))
    await answered.until(lambda: answered.whole)
    response = json.loads(answered.body)
    check_response(response)
    assert (response["status"], response["output"]) == ("queued", [])
    assert (response["background"], response["store"]) == (True, True)
    name = id_of(answered)
    assert (await taken(kept_table))[KEY_ID] == {name}
    gate.set()
    await asked  # what Lambda does before it fetches the next invocation
    found = await kept(kept_table, answered)
    assert (found.head.status, found.head.kept) == ("completed", "result")
    assert len(output_of(found.head.head, found.whole)) == 1
    [item] = requests()
    assert (item["state"], item["outcome"], item["completion_tokens"]) == ("SETTLED", "complete", 2)
    assert item["sk"] == found.head.run_id != name
    assert await taken(kept_table) == {}


@pytest.mark.parametrize("persistence", ["asked", "all"])
async def test_it_is_queued_where_all_is_kept(
    make_call: Callable[..., Call], streams: Any, kept_table: Table, persistence: str
) -> None:
    """Its result is kept, and not its events, unless it asks for them."""
    call = make_call(stream_table=streams.name, persistence=persistence)
    reply = await call(path=PATH, body=ASKED)
    assert (await kept(kept_table, reply)).head.kept == "result"


@pytest.mark.parametrize(
    ("change", "more"),
    [({"stream": True}, {}), ({"sluice": {"durable": True}}, {}), ({}, {"idempotency-key": "k"})],
)
async def test_a_logged_one_runs_at_once(
    asking: Call, kept_table: Table, sagemaker: StandIn, change: dict[str, Any], more: Any
) -> None:
    """One that is streamed or logged is not queued, and has places while it runs."""
    gate, answered = asyncio.Event(), Reply()
    sagemaker.script = [FIRST, gate, REST]
    body = {**ASKED, **change}
    asked = asyncio.ensure_future(asking(path=PATH, body=body, more=more, reply=answered))
    await answered.until(lambda: bool(answered.chunks))
    [name] = (await taken(kept_table))[None]
    assert (await taken(kept_table))[KEY_ID] == {name}
    gate.set()
    await asked
    assert (await kept(kept_table, answered)).head.kept == "segments"
    assert await taken(kept_table) == {}


STREAMED = {**ASKED, "stream": True}


async def waiting_id(table: Table) -> str:
    """Return the id of the only response that waits, once it does."""
    while True:
        for names in (await taken(table)).values():
            for name in names:
                if (await head_of(table, name)).is_waiting:
                    return name
        await asyncio.sleep(0)


@pytest.mark.parametrize("busy", ["throttled", "overloaded"])
async def test_a_streamed_one_waits_for_room(
    asking: Call,
    kept_table: Table,
    sagemaker: StandIn,
    requests: Requests,
    monkeypatch: pytest.MonkeyPatch,
    busy: str,
) -> None:
    """Its client is told that it is queued, and gets the same stream when there is room."""
    monkeypatch.setattr(limits, "LOG_POLL", 0.0)
    if busy == "throttled":
        sagemaker.busy = {"endpoint-1"}
    sagemaker.script = [FULL]
    reply = Reply()
    asked = asyncio.ensure_future(asking(path=PATH, body=STREAMED, reply=reply))
    await reply.until(lambda: b"response.queued" in reply.body)
    name = await waiting_id(kept_table)
    assert reply.headers["x-sluice-stream"] == name
    assert await taken(kept_table) == {KEY_ID: {name}}
    [first] = requests()
    assert (first["outcome"], first["cost"], "open" in first) == ("refused", 0, False)
    assert [it["type"] for it in events_of(reply.body)] == ["response.created", "response.queued"]
    assert {it["response"]["status"] for it in events_of(reply.body)} == {"queued"}
    await asking(queued=name)  # nobody has called
    sagemaker.busy, sagemaker.script = set(), [FULL]
    await started(kept_table, name)
    await asking(queued=name)  # still no room
    assert (await head_of(kept_table, name)).is_waiting
    sagemaker.script = [part(WHOLE)]
    await started(kept_table, name)
    await asyncio.gather(asking(queued=name), asking(queued=name))
    await asked
    events = events_of(reply.body)
    assert [it["type"] for it in events[:3]] == [
        f"response.{kind}" for kind in ("created", "queued", "in_progress")
    ]
    assert response_of(reply.body)["status"] == "completed"
    found = await kept(kept_table, reply)
    assert (found.head.status, found.head.kept) == ("completed", "segments")
    assert [it["outcome"] for it in requests()] == ["refused", "refused", "complete"]
    assert await taken(kept_table) == {}


async def test_a_logged_one_waits_for_room(
    asking: Call, kept_table: Table, sagemaker: StandIn
) -> None:
    """One without a stream that repeats can find waits too, and a repeat gets it."""
    sagemaker.script = [FULL]
    key = {"idempotency-key": "k"}
    first = await asking(path=PATH, body=ASKED, more=key)
    name = id_of(first)
    assert (await head_of(kept_table, name)).is_waiting
    assert await taken(kept_table) == {KEY_ID: {name}}
    sagemaker.script = [part(WHOLE)]
    await started(kept_table, name)
    await asking(queued=name)
    assert (await head_of(kept_table, name)).status == "completed"
    assert await taken(kept_table) == {}
    assert id_of(await asking(path=PATH, body=ASKED, more=key)) == name


async def test_a_streamed_one_is_cancelled_while_it_waits(
    asking: Call, kept_table: Table, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream ends as that of any cancelled response."""
    monkeypatch.setattr(limits, "LOG_POLL", 0.0)
    sagemaker.script, reply = [FULL], Reply()
    asked = asyncio.ensure_future(asking(path=PATH, body=STREAMED, reply=reply))
    await reply.until(lambda: b"response.queued" in reply.body)
    head = await cancel_head(kept_table, await waiting_id(kept_table), now=time.time())
    assert head is not None
    await end_segment(kept_table, head)
    await asked
    *_, last = reply.body.decode().removesuffix("data: [DONE]\n\n").split("data: ")
    last = json.loads(last)
    assert (last["type"], last["response"]["status"]) == ("response.failed", "cancelled")
    assert b"in_progress" not in reply.body.replace(b'"status":"in_progress"', b"")


async def test_a_streamed_one_that_cannot_be_queued(
    asking: Call,
    kept_table: Table,
    sagemaker: StandIn,
    requests: Requests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its client gets the error of the model, and the sweeper ends its head."""

    async def down(*_: object, **__: object) -> None:
        raise MeterUnavailable("down")

    monkeypatch.setattr("lambda_fn.stream.queueing.queued.enqueue", down)
    sagemaker.script = [FULL]
    reply = await asking(path=PATH, body=STREAMED)
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    [item] = requests()
    assert (item["outcome"], "open" in item) == ("refused", True)
    assert (await head_of(kept_table, item["sk"])).status == "in_progress"
    assert await taken(kept_table) == {}


async def test_it_needs_the_table(
    make_call: Callable[..., Call],
    streams: Any,
    monkeypatch: pytest.MonkeyPatch,
    requests: Requests,
) -> None:
    """A response that nobody could read is neither queued nor generated."""

    async def down(*_: object, **__: object) -> None:
        raise MeterUnavailable("down")

    monkeypatch.setattr("lambda_fn.stream.queueing.open_head", down)
    call = make_call(stream_table=streams.name, on_log_failure="unlogged")
    reply = await call(path=PATH, body=ASKED)
    assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
    assert requests() == []


@pytest.mark.parametrize(
    ("changes", "script", "code"),
    [
        ({}, [FIRST, None], "upstream_cut"),
        ({"sagemaker_url": "http://127.0.0.1:9"}, [], "upstream_error"),
    ],
)
async def test_it_fails(
    make_call: Callable[..., Call],
    streams: Any,
    kept_table: Table,
    sagemaker: StandIn,
    changes: dict[str, Any],
    script: list[Any],
    code: str,
) -> None:
    """Its failure is read later, whenever it came."""
    sagemaker.script = script
    reply = await make_call(stream_table=streams.name, **changes)(path=PATH, body=ASKED)
    assert reply.status == 200
    head = (await kept(kept_table, reply)).head
    assert (head.status, getattr(head.event, "code", None)) == ("failed", code)
    assert await taken(kept_table) == {}


async def test_a_limit_is_told_at_once(
    asking: Call, kept_table: Table, items: Any, account: dict[str, str], requests: Requests
) -> None:
    """A request that the key's limits do not allow is refused when it is asked."""
    items.update_item(
        Key=account,
        UpdateExpression="SET max_streams = :none",
        ExpressionAttributeValues={":none": 0},
    )
    reply = await asking(path=PATH, body=ASKED)
    assert reply.status == 429
    assert await taken(kept_table) == {}
    assert requests() == []


@pytest.mark.parametrize("busy", ["throttled", "overloaded"])
async def test_it_waits_for_room(
    asking: Call,
    kept_table: Table,
    sagemaker: StandIn,
    items: Any,
    requests: Requests,
    busy: str,
) -> None:
    """A response that finds its model full costs nothing, waits, and is generated once."""
    if busy == "throttled":
        sagemaker.busy = {"endpoint-1"}
    sagemaker.script = [FULL]
    reply = await asking(path=PATH, body=ASKED)
    name = id_of(reply)
    head = await head_of(kept_table, name)
    assert head.is_waiting
    [first] = requests()
    assert (first["outcome"], first["completion_tokens"], first["cost"]) == ("refused", 0, 0)
    assert await taken(kept_table) == {KEY_ID: {name}}
    sagemaker.busy, sagemaker.script = set(), [part(WHOLE)]
    await asking(queued=name)  # nobody has called
    assert (await head_of(kept_table, name)).is_waiting
    await started(kept_table, name)
    await asyncio.gather(asking(queued=name), asking(queued=name))
    head = await head_of(kept_table, name)
    assert head.status == "completed"
    assert [it["outcome"] for it in requests()] == ["refused", "complete"]
    assert items.get_item(Key=account_key(KEY_ID))["Item"]["in_flight"] == {}
    assert await taken(kept_table) == {}


async def test_cancelled_while_it_waits(
    asking: Call, kept_table: Table, sagemaker: StandIn
) -> None:
    """A response that was cancelled is not run any more."""
    sagemaker.script = [FULL]
    name = id_of(await asking(path=PATH, body=ASKED))
    calls = len(sagemaker.bodies)
    await started(kept_table, name)
    await cancel_head(kept_table, name, now=time.time())
    await asking(queued=name)
    assert (await head_of(kept_table, name)).status == "cancelled"
    assert len(sagemaker.bodies) == calls


@pytest.mark.parametrize(
    ("change", "code"),
    [("SET enabled = :no", "key_disabled"), ("SET secret_hash = :no", None)],
)
async def test_a_key_that_may_not_be_used_any_more(
    asking: Call,
    kept_table: Table,
    sagemaker: StandIn,
    items: Any,
    account: dict[str, str],
    change: str,
    code: str | None,
) -> None:
    """A response whose key was disabled while it waited fails; after a rotation it is run."""
    sagemaker.script = [FULL]
    name = id_of(await asking(path=PATH, body=ASKED))
    value: Any = False if code else "0" * 64
    items.update_item(
        Key=account, UpdateExpression=change, ExpressionAttributeValues={":no": value}
    )
    sagemaker.script = [part(WHOLE)]
    await started(kept_table, name)
    await asking(queued=name)
    head = await head_of(kept_table, name)
    assert getattr(head.event, "code", None) == code
    assert head.status == ("failed" if code else "completed")


async def test_the_places_of_a_key(
    make_call: Callable[..., Call], streams: Any, kept_table: Table, sagemaker: StandIn
) -> None:
    """A key has so many unended ones, those that wait included. Another one is refused."""
    call = make_call(stream_table=streams.name, background=Background(per_key=2))
    sagemaker.script = [FULL]
    for _ in range(2):
        assert (await call(path=PATH, body=ASKED)).status == 200
    for body in (ASKED, {**ASKED, "stream": True}):
        reply = await call(path=PATH, body=body)
        assert (reply.status, reply.error["code"]) == (429, "background_limit")
        assert reply.headers["retry-after"] == "10"
        assert "2 background responses" in reply.error["message"]
    assert (await call(path=PATH, body={"model": "m", "input": "Hi"})).status != 429 or (
        sagemaker.script == [FULL]
    )


async def test_the_places_of_all(
    make_call: Callable[..., Call], streams: Any, kept_table: Table, sagemaker: StandIn
) -> None:
    """One over what runs at once waits, and a streamed one is refused."""
    call = make_call(stream_table=streams.name, background=Background(at_once=1))
    gate, first = asyncio.Event(), Reply()
    sagemaker.script = [FIRST, gate, REST]
    asked = asyncio.ensure_future(call(path=PATH, body=ASKED, reply=first))
    await first.until(lambda: first.whole)
    while (await head_of(kept_table, id_of(first))).status == "queued":  # noqa: ASYNC110 - by its writes
        await asyncio.sleep(0)
    while None not in await taken(kept_table):  # noqa: ASYNC110 - by its writes
        await asyncio.sleep(0)
    second = await call(path=PATH, body=ASKED)
    assert (await head_of(kept_table, id_of(second))).is_waiting
    reply = await call(path=PATH, body={**ASKED, "stream": True})
    assert (reply.status, reply.error["code"]) == (429, "background_full")
    gate.set()
    await asked
    sagemaker.script = [part(WHOLE)]
    await started(kept_table, id_of(second))
    await call(queued=id_of(second))
    assert (await head_of(kept_table, id_of(second))).status == "completed"


async def test_a_repeat_gets_the_same_response(
    asking: Call, kept_table: Table, sagemaker: StandIn
) -> None:
    """An SDK that sends its request again gets the one that is queued, and nothing more runs."""
    sagemaker.script = [FULL]
    first = await asking(path=PATH, body=ASKED)
    calls = len(sagemaker.bodies)
    again = await asking(path=PATH, body=ASKED, more={"x-stainless-retry-count": "1"})
    assert id_of(again) == id_of(first)
    assert len(sagemaker.bodies) == calls
    assert await taken(kept_table) == {KEY_ID: {id_of(first)}}
    other = await asking(path=PATH, body=ASKED)
    assert id_of(other) != id_of(first)


async def test_runs_of_what_is_not_there(asking: Call, sagemaker: StandIn) -> None:
    """A run of a response that does not exist, or has ended, does nothing."""
    done = id_of(await asking(path=PATH, body=ASKED))
    calls = len(sagemaker.bodies)
    for name in (done, "0" * 26):
        await asking(queued=name)
    assert len(sagemaker.bodies) == calls


async def test_cancelled_before_its_first_token(
    asking: Call,
    kept_table: Table,
    sagemaker: StandIn,
    requests: Requests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run whose model is silent sees the cancel as it renews its lease, and bills nothing."""
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.01)
    sagemaker.script = [asyncio.Event()]
    answered = Reply()
    asked = asyncio.ensure_future(asking(path=PATH, body=ASKED, reply=answered))
    await answered.until(lambda: answered.whole)
    while not sagemaker.bodies:  # noqa: ASYNC110 - by its writes
        await asyncio.sleep(0)
    await cancel_head(kept_table, id_of(answered), now=time.time())
    await asked
    head = await head_of(kept_table, id_of(answered))
    assert head.status == "cancelled"
    assert sagemaker.cancelled == [head.run_id]
    [item] = requests()
    assert (item["outcome"], item["completion_tokens"]) == ("cancelled", 0)
    assert await taken(kept_table) == {}


async def test_a_refused_response_tells_no_webhook(
    make_call: Callable[..., Call], streams: Any, kept_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client never learned of it. It gives its places back without a call of the keeper."""
    told: list[str] = []

    async def tell(*args: Any) -> bool:
        told.append(args[3])
        return True

    monkeypatch.setattr(queueing, "tell_end", tell)
    call = make_call(stream_table=streams.name, background=Background(tells="the-keeper"))
    conversations, name = Conversations(kept_table, days=1), new_request_id()
    seen = await conversations.create(name, KEY_ID, [])
    await conversations.acquire(seen, "another", until=time.time() + 60)
    body = {**ASKED, "stream": True, "conversation": f"conv_{name}"}
    reply = await call(path=PATH, body=body)
    assert (reply.status, reply.error["code"]) == (400, "conversation_locked")
    assert (told, await taken(kept_table)) == ([], {})
    await call(path=PATH, body={**ASKED, "stream": True})
    assert len(told) == 1


async def test_nothing_is_queued_in_a_locked_conversation(
    asking: Call, kept_table: Table, sagemaker: StandIn
) -> None:
    """It would only fail later. A repeat of the request that has the lock gets its response."""
    conversations, name = Conversations(kept_table, days=1), new_request_id()
    await conversations.create(name, KEY_ID, [])
    gate, first = asyncio.Event(), Reply()
    sagemaker.script = [gate, FIRST, REST]
    body = {**ASKED, "conversation": f"conv_{name}"}
    asked = asyncio.ensure_future(asking(path=PATH, body=body, reply=first))
    while not sagemaker.bodies:  # noqa: ASYNC110 - the model is called under the lock
        await asyncio.sleep(0)
    refused = await asking(path=PATH, body={**body, "input": "hello"})
    assert (refused.status, refused.error["code"]) == (400, "conversation_locked")
    assert refused.error["param"] == "conversation"
    assert (await taken(kept_table))[KEY_ID] == {id_of(first)}
    retry = {"x-stainless-retry-count": "1"}
    repeated = await asking(path=PATH, body=body, more=retry)
    assert (repeated.status, id_of(repeated)) == (200, id_of(first))
    gate.set()
    await asked
    assert (await kept(kept_table, first)).head.status == "completed"
    sagemaker.script = [FIRST, REST]
    last = await asking(path=PATH, body={**body, "input": "hello"})
    assert (await kept(kept_table, last)).head.status == "completed"


async def test_nothing_is_queued_over_the_ceiling(
    make_call: Callable[..., Call], streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that could not run is refused at once, as any other."""
    monkeypatch.setattr(Switch, "is_due", False)
    monkeypatch.setattr(Switch, "is_closed", True)

    def check(_: Switch) -> None:
        raise InsufficientQuota("m", code="monthly_ceiling_reached")

    monkeypatch.setattr(Switch, "check", check)
    reply = await make_call(stream_table=streams.name)(path=PATH, body=ASKED)
    assert (reply.status, reply.error["code"]) == (429, "monthly_ceiling_reached")
