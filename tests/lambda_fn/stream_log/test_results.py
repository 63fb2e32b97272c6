"""Responses that are kept whole, over a table on which a test decides what fails."""

from typing import Any

import msgspec
import pytest

from lambda_fn.errors import UpstreamFailed
from lambda_fn.event_log import failed_by
from lambda_fn.events import End, Finish
from lambda_fn.stream_log import keys
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import CANCELLED, StoredHead, cancel_head, end_overdue, read_head
from lambda_fn.stream_log.removal import hide, remove, unfinished
from lambda_fn.stream_log.results import Input, ResultLog, read_kept, read_many
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground
from tests.support.units import item_size

KEPT = Input([msgspec.Raw(b'{"role":"user","content":"Hi"}')], ["0" * 26])
FAILED = failed_by(UpstreamFailed("m"))


async def result_log(ground: Ground, kept_input: Input = KEPT) -> ResultLog:
    """Return an open log of a response that may take a minute."""
    log = ResultLog(
        ground.table,
        ground.stored(),
        kept_input,
        lambda: (3, ground.sampled),
        seconds=60,
        now=ground.clock,
    )
    await log.open(ground.stored().head)
    return log


async def head_of(ground: Ground) -> StoredHead:
    """Return the head as it stands."""
    head = await read_head(ground.table, ground.response_id, now=ground.now)
    assert head is not None
    return head


@pytest.mark.parametrize(
    ("finish", "event", "status"),
    [
        ("stop", End(7), "completed"),
        ("tool_calls", End(), "completed"),
        ("length", End(), "incomplete"),
        ("content_filter", End(), "incomplete"),
        ("stop", FAILED, "failed"),
        ("stop", CANCELLED, "cancelled"),
    ],
)
async def test_a_response_comes_back(ground: Ground, finish: str, event: Any, status: str) -> None:
    """While it runs there are the head and the input. Its end has all of its events."""
    log = await result_log(ground)
    events = [*ground.tokens(3), Finish(finish)]
    log.append((0, events[:2]))
    log.append((2, events[2:]))
    running = await read_kept(ground.table, ground.response_id, now=NOW)
    assert running is not None
    assert (running.head.status, running.head.kept) == ("in_progress", "result")
    assert (running.input, running.events) == (KEPT, [])
    assert await log.end((4, [event])) == (4, [event])
    kept = await read_kept(ground.table, ground.response_id, now=NOW)
    assert kept is not None
    assert (kept.head.status, kept.head.completion_tokens, kept.head.last) == (status, 3, 4)
    assert kept.whole == [*events, event]
    assert {item["expires"] for item in ground.items()} == {kept.head.expires}


async def test_what_a_kept_response_costs(ground: Ground) -> None:
    """It is three writes and a write unit for each further kB: input, head, output, and the end."""
    text = "".join(chr(0x4E00 + it * it % 9_000) for it in range(3_000))
    item = msgspec.json.encode({"role": "user", "content": text})
    log = await result_log(ground, Input([msgspec.Raw(item)]))
    log.append((0, ground.tokens(200)))
    await log.end((200, [End()]))
    head, body, segment = (*ground.items("HEAD"), *ground.items("B#"), *ground.items("S#"))
    assert item_size(head) < 1024  # it is written twice
    sizes = [item_size(body), item_size(segment)]
    assert sum(-(-size // 1024) for size in sizes) <= 1 + -(-sum(sizes) // 1024)


async def test_a_response_that_was_cancelled_stays_so(ground: Ground) -> None:
    """Whoever ended a response first, its client gets that end."""
    log = await result_log(ground)
    log.append((0, ground.tokens(2)))
    await cancel_head(ground.table, ground.response_id, now=NOW)
    assert await log.end((2, [End()])) == (2, [CANCELLED])
    assert (await head_of(ground)).status == "cancelled"


async def test_a_dead_producer_is_over_behind_its_time_limit(ground: Ground) -> None:
    """The lease is the time limit of the response, and nothing renews it."""
    await result_log(ground)
    head = await head_of(ground)
    assert not head.is_overdue(NOW + 60)
    ground.now = NOW + 100
    assert head.is_overdue(ground.now)
    ended = await end_overdue(ground.table, head, now=ground.now)
    assert ended is not None
    assert ended.status == "failed"


async def test_a_number_that_does_not_follow(ground: Ground) -> None:
    """A batch has to follow the one before."""
    log = await result_log(ground)
    with pytest.raises(ValueError, match="does not follow"):
        log.append((1, ground.tokens(1)))
    with pytest.raises(LookupError):
        log.read(-1)


async def test_lost_answers_are_no_others(ground: Ground) -> None:
    """Each write may be attempted again, and its first attempt may have been carried out."""
    log = await result_log(ground)
    log.append((0, ground.tokens(1)))
    ground.fates[:] = [Fate.UNANSWERED, Fate.WELL, Fate.UNANSWERED, Fate.WELL]
    assert await log.end((1, [End()])) == (1, [End()])
    assert (await head_of(ground)).status == "completed"


async def test_many_are_read_in_their_order(ground: Ground) -> None:
    """What does not exist has a place, too. A part that is missing is an error."""
    await result_log(ground)
    missing, found = await read_many(ground.table, ["0" * 26, ground.response_id], now=NOW)
    assert missing is None
    assert found is not None
    await ground.table.delete(keys.body_key(ground.response_id, "input", 0))
    with pytest.raises(Incomplete):
        await read_kept(ground.table, ground.response_id, now=NOW)


async def test_a_late_end_of_a_deleted_response_is_removed(ground: Ground) -> None:
    """A producer that ends after the removal leaves its text for another one to find."""
    log, key = await result_log(ground), keys.head_key(ground.response_id)
    log.append((0, ground.tokens(1)))
    await cancel_head(ground.table, ground.response_id, now=NOW)
    await ground.table.update(hide(key, now=int(NOW)))
    await remove(ground.table, key, now=int(NOW))
    assert [it async for it in unfinished(ground.table)] == []
    await log.end((1, [End()]))
    assert ground.items("S#")
    assert [it async for it in unfinished(ground.table)] == [key]
    await remove(ground.table, key, now=int(NOW))
    assert [it["sk"] for it in ground.items()] == ["HEAD"]


async def test_an_item_that_comes_during_the_removal_is_removed(ground: Ground) -> None:
    """A removal begins again if a late writer has marked the head meanwhile."""
    log, key, table = await result_log(ground), keys.head_key(ground.response_id), ground.table
    log.append((0, ground.tokens(1)))
    await cancel_head(table, ground.response_id, now=NOW)
    await table.update(hide(key, now=int(NOW)))
    query, late = table.query, [True]

    async def queried(*args: Any, **options: Any) -> Any:
        page = await query(*args, **options)
        if late:
            late.clear()
            await log.end((1, [End()]))
        return page

    table.query = queried  # type: ignore[method-assign]
    await remove(table, key, now=int(NOW))
    assert [it["sk"] for it in ground.items()] == ["HEAD"]
    assert [it async for it in unfinished(ground.table)] == []
