"""The sweeper ends the logs of dead functions, and settles by them."""

from typing import Any

import pytest

from lambda_fn.aws.dynamodb import Table
from lambda_fn.encode import Head
from lambda_fn.events import End, Event, Failed, Finish, Usage
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.metering import ledger
from lambda_fn.stream_log.bodies import write_body
from lambda_fn.stream_log.heads import (
    StoredHead,
    cancel_head,
    open_head,
    put_segment,
    read_head,
)
from lambda_fn.stream_log.reading import read_all
from lambda_fn.stream_log.segments import Segment
from lambda_fn.stream_log.table_log import TableLog
from lambda_fn.stream_log.watching import Watch
from lambda_fn.sweep.logs import end_log
from lambda_fn.sweep.run import Sweep, sweep
from tests.support.function import CREDENTIALS
from tests.support.ground import LATER, LONGEST, PRICES, Ground, T, live, never, prove
from tests.support.stream_logs import token


@pytest.fixture
def log_table(ground: Ground, http: Client, streams: Any) -> Table:
    """Return StreamTable as the sweeper sees it."""
    return Table(
        http, url=ground.url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


def stored(request_id: str, **changes: Any) -> StoredHead:
    """Return the head of a request's response."""
    fields: dict[str, Any] = {
        "head": Head(request_id, int(T), "m"),
        "owner": "key",
        "status": "in_progress",
        "created": int(T),
        "expires": int(LATER) + 86_400,
        "endpoint": "e",
        "dialect": "sluice",
        "writer": "producer",
        "lease": T + 4,
    }
    return StoredHead(**{**fields, **changes})


async def put(table: Table, request_id: str, number: int, events: list[Event], tokens: int) -> None:
    """Put a segment with a running count."""
    segment = Segment(number, events, "producer", 7, tokens)
    assert await put_segment(table, request_id, segment, expires=9) is None


async def swept(ground: Ground, log_table: Table) -> Sweep:
    """Sweep once."""
    return await sweep(ground.table, now=LATER, longest=LONGEST, stop=never, streams=log_table)


async def test_a_dead_function_is_settled_by_its_last_segment(
    ground: Ground, log_table: Table
) -> None:
    """Its response fails, its tokens are those of the last segment, and all agrees."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None, checkpoint=2)
    await open_head(log_table, stored(request_id))
    await put(log_table, request_id, 0, [token(), token()], 2)
    await put(log_table, request_id, 2, [token()], 5)
    result = await swept(ground, log_table)
    assert (result.failures, result.recovered) == (0, 1)
    head = await read_head(log_table, request_id, now=T)
    assert head is not None
    assert (head.status, head.ended) == ("failed", LATER)
    segments = await read_all(log_table, head)
    assert segments[-1].is_end
    assert segments[-1].number == 3
    [item] = await prove(ground)
    assert (item["outcome"], item["prompt_tokens"], item["completion_tokens"]) == ("cut", 7, 5)
    assert item["recovered"]
    assert 3_900 <= item["duration_ms"] <= 4_100


@pytest.mark.parametrize("renewed", [0, 9])
async def test_a_lease_may_have_later_counts(
    ground: Ground, log_table: Table, renewed: int
) -> None:
    """Tokens that a transform held back are in the head only, as of the last renewal."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    await open_head(log_table, stored(request_id))
    await put(log_table, request_id, 0, [token()], 1)
    log = TableLog(
        log_table, Watch(log_table), stored(request_id), lambda: (7, renewed), now=lambda: T + 5
    )
    log._name = "producer"
    await log.renew()
    await swept(ground, log_table)
    [item] = await prove(ground)
    assert item["completion_tokens"] == max(renewed, 1)


@pytest.mark.parametrize(
    ("last", "outcome", "reason"),
    [
        ([Finish("length"), Usage(7, 11), End()], "complete", "length"),
        ([Failed("upstream_failed", "m")], "cut", None),
    ],
)
async def test_an_end_that_was_not_settled(
    ground: Ground, log_table: Table, last: list[Event], outcome: str, reason: str | None
) -> None:
    """A function that died behind its response's end is settled as that says."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    log = TableLog(
        log_table, Watch(log_table), stored(request_id), lambda: (7, 11), now=lambda: T + 8
    )
    await log.open(stored(request_id).head)
    log.append((0, [token(), *last[:-1]]))
    await log.end((len(last), last[-1:]))
    await log.close()
    await swept(ground, log_table)
    [item] = await prove(ground)
    assert (item["outcome"], item["prompt_tokens"], item["completion_tokens"]) == (outcome, 7, 11)
    assert item.get("finish_reason") == reason
    assert 7_900 <= item["duration_ms"] <= 8_100


async def test_a_cancelled_response(ground: Ground, log_table: Table) -> None:
    """A cancel that its dead producer never saw is a cancel, and gets its missing end."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    await open_head(log_table, stored(request_id))
    await put(log_table, request_id, 0, [token()], 1)
    await cancel_head(log_table, request_id, now=T + 5)
    await swept(ground, log_table)
    [item] = await prove(ground)
    assert (item["outcome"], item["completion_tokens"]) == ("cancelled", 1)
    head = await read_head(log_table, request_id, now=T)
    assert head is not None
    assert (await read_all(log_table, head))[-1].is_end


async def test_a_response_without_segments(ground: Ground, log_table: Table) -> None:
    """One of which only the result is kept ends, and is settled from its checkpoint."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None, checkpoint=4)
    await open_head(log_table, stored(request_id, kept="result"))
    await swept(ground, log_table)
    [item] = await prove(ground)
    assert (item["outcome"], item["completion_tokens"]) == ("cut", 4)
    head = await read_head(log_table, request_id, now=T)
    assert head is not None
    assert head.status == "failed"


async def test_a_request_without_a_head(ground: Ground, log_table: Table) -> None:
    """A request that is not logged is settled from its checkpoint."""
    await live(ground.table, ground, new_request_id(T), None, checkpoint=4)
    await swept(ground, log_table)
    [item] = await prove(ground)
    assert item["completion_tokens"] == 4


async def test_a_head_that_was_never_put(ground: Ground, log_table: Table, streams: Any) -> None:
    """What a function had stored before it was killed is removed: nobody can find or erase it."""
    request_id = new_request_id(T)
    assert await write_body(log_table, request_id, "input", b"What is said", expires=9) == 1
    await live(ground.table, ground, request_id, None)
    await swept(ground, log_table)
    assert streams.scan()["Items"] == []


async def test_served_while_the_meter_was_open(ground: Ground, log_table: Table) -> None:
    """A logged request without a hold was served, and is booked."""
    request_id = new_request_id(T)
    opening = ledger.Opening(request_id, ground.key_id, "demo", 100, 400, PRICES)
    await ground.table.put(ledger.opening_item(opening))
    await open_head(log_table, stored(request_id))
    await put(log_table, request_id, 0, [token()], 6)
    await swept(ground, log_table)
    [item] = await prove(ground)
    assert (item["outcome"], item["completion_tokens"]) == ("cut", 6)


@pytest.mark.parametrize("kept", ["segments", "result"])
@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        ("complete", "failed", "log_unavailable"),
        ("cut", "failed", "log_unavailable"),
        ("failed", "failed", "log_unavailable"),
        ("refused", "failed", "log_unavailable"),
        ("cancelled", "cancelled", "cancelled"),
    ],
)
async def test_a_settled_response_without_its_end(
    ground: Ground, log_table: Table, outcome: Any, status: str, code: str, kept: Any
) -> None:
    """Its ledger item is watched until the log has an end, by the outcome that was settled."""
    request_id = new_request_id(T)
    counts = (0, 0) if outcome == "refused" else (7, 11)
    settlement = ledger.Settlement(outcome, *counts, None, 12, 400)
    await live(ground.table, ground, request_id, settlement, watched=True)
    before = ground.item(request_id)
    assert (before["state"], before["due"]) == ("SETTLED", int(T + LONGEST))
    await open_head(log_table, stored(request_id, kept=kept))
    if kept == "segments":
        await put(log_table, request_id, 0, [token()], 1)
    result = await swept(ground, log_table)
    assert (result.failures, result.done) == (0, {"ended": 1})
    head = await read_head(log_table, request_id, now=T)
    assert head is not None
    assert head.event is not None
    assert (head.status, type(head.event)) == (status, Failed)
    assert type(head.event) is Failed
    assert head.event.code == code
    if kept == "segments":
        last = (await read_all(log_table, head))[-1]
        assert (last.is_end, last.number) == (True, 1)
    [item] = await prove(ground)
    assert item == {name: value for name, value in before.items() if name not in ("open", "due")}
    assert (await swept(ground, log_table)).overdue == 0


async def test_a_settled_response_with_its_end(ground: Ground, log_table: Table) -> None:
    """An end that came late stands, and is watched no longer."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, watched=True)
    log = TableLog(
        log_table, Watch(log_table), stored(request_id), lambda: (7, 11), now=lambda: T + 8
    )
    await log.open(stored(request_id).head)
    await log.end((0, [End()]))
    await log.close()
    assert (await swept(ground, log_table)).done == {"ended": 1}
    head = await read_head(log_table, request_id, now=T)
    assert head is not None
    assert (head.status, head.ended) == ("completed", T + 8)


async def test_a_watched_request_without_a_table_of_logs(ground: Ground) -> None:
    """Once nothing is kept any more, the watch ends."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, watched=True)
    result = await sweep(ground.table, now=LATER, longest=LONGEST, stop=never)
    assert (result.failures, result.done) == (0, {"ended": 1})
    assert "open" not in ground.item(request_id)


async def test_ending_a_log_twice(ground: Ground, log_table: Table) -> None:
    """A second sweep finds the same, and writes nothing."""
    request_id = new_request_id(T)
    await open_head(log_table, stored(request_id))
    await put(log_table, request_id, 0, [token()], 1)
    first = await end_log(log_table, request_id, now=LATER)
    assert first is not None
    assert await end_log(log_table, request_id, now=LATER) == first
