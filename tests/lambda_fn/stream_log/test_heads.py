"""The conditional writes by which a response begins and ends."""

from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Update
from lambda_fn.encode import Head
from lambda_fn.events import End, Failed, Start
from lambda_fn.stream_log import heads, keys
from lambda_fn.stream_log.heads import (
    CANCELLED,
    INTERRUPTED,
    Ending,
    StoredHead,
    cancel_head,
    end_overdue,
    end_segment,
    end_update,
    open_head,
    put_segment,
    read_head,
    win,
)
from lambda_fn.stream_log.segments import Segment
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground, token
from tests.support.units import item_size


async def found(ground: Ground) -> StoredHead:
    """Return the head as it stands."""
    head = await read_head(ground.table, ground.response_id, now=ground.now)
    assert head is not None
    return head


async def put(ground: Ground, number: int, count: int, writer: str = "producer") -> None:
    """Put a segment of tokens."""
    segment = Segment(number, [token() for _ in range(count)], writer, 3, number + count)
    assert await put_segment(ground.table, ground.response_id, segment, expires=9) is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"component": "c", "metadata": {"user": "u"}, "status": "queued", "invoked": NOW + 1},
        {"kept": "result", "bodies": {"input": 2}},
    ],
)
async def test_a_head_comes_back(ground: Ground, changes: dict[str, Any]) -> None:
    """What was opened is read back, and its item is below 1 kB."""
    stored = await ground.opened(**changes)
    assert await found(ground) == stored
    [item] = ground.items("HEAD")
    assert item_size(item) < 1024
    assert item.keys() <= keys.HEAD.keys()


async def test_a_long_head_is_a_body(ground: Ground) -> None:
    """The prompt that a completion repeats is not in the item, which every second is read."""
    echo = "".join(chr(0x4E00 + it * it % 9_000) for it in range(300_000))
    head = Head(ground.response_id, int(NOW), "m", form="completion_stream", echo=echo)
    stored = await ground.opened(head=head)
    assert (await found(ground)).head == stored.head
    [item] = ground.items("HEAD")
    assert item_size(item) < 1024
    parts = ground.items("B#head#")
    assert len(parts) == item["bodies"]["head"]
    assert all(len(part["body"]) <= keys.MAX_PART for part in parts)
    assert {part["expires"] for part in parts} == {stored.expires}


async def test_a_lost_answer_is_no_other_writer(ground: Ground) -> None:
    """An attempt whose answer was lost is told from another's head."""
    ground.fates[:] = [Fate.UNANSWERED]
    await ground.opened()
    with pytest.raises(ConditionFailed):
        await open_head(ground.table, ground.stored(writer="other"))


async def test_what_readers_do_not_see(ground: Ground) -> None:
    """A response that is deleted, over its time or unknown does not exist."""
    table, name = ground.table, ground.response_id
    stored = await ground.opened()
    assert await read_head(table, "other", now=NOW) is None
    assert await read_head(table, name, now=stored.expires - 1) is not None
    assert await read_head(table, name, now=stored.expires) is None
    deletion = Update(
        keys.head_key(name), "SET deleted = :now", "attribute_exists(pk)", values={":now": 1}
    )
    await table.update(deletion)
    assert await read_head(table, name, now=NOW) is None
    assert await cancel_head(table, name, now=NOW) is None


async def test_a_cancel_wins_once(ground: Ground) -> None:
    """The first cancel ends the response; a second one returns the head unchanged."""
    await ground.opened()
    first = await cancel_head(ground.table, ground.response_id, now=NOW + 1, by="a")
    assert first is not None
    assert (first.status, first.ended_by, first.ended) == ("cancelled", "a", NOW + 1)
    assert await cancel_head(ground.table, ground.response_id, now=NOW + 2, by="b") == first
    assert await cancel_head(ground.table, "other", now=NOW) is None


async def test_a_cancel_whose_answer_was_lost(ground: Ground) -> None:
    """A cancel that was carried out without an answer is known as the own one."""
    await ground.opened()
    ground.fates[:] = [Fate.UNANSWERED]
    head = await cancel_head(ground.table, ground.response_id, now=NOW, by="a")
    assert head is not None
    assert head.ended_by == "a"


async def test_a_response_that_ended_is_not_cancelled(ground: Ground) -> None:
    """A cancel after the end changes nothing."""
    await ground.opened()
    ending = Ending(status="completed", event=End(), by="producer", now=NOW, counts=(3, 2), last=2)
    update = end_update(ground.response_id, ending, "#status = :was", {":was": "in_progress"})
    assert (await win(ground.table, update, ending))[1]
    head = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert head is not None
    assert (head.status, head.event, head.last) == ("completed", End(), 2)
    assert (head.prompt_tokens, head.completion_tokens) == (3, 2)


@pytest.mark.parametrize(("age", "is_overdue"), [(29.9, False), (30.0, True)])
async def test_a_lease_ends(ground: Ground, age: float, *, is_overdue: bool) -> None:
    """A response is overdue when its lease is 30 s old. Only the lease that was read ends it."""
    assert limits.LEASE == 30
    stored = await ground.opened()
    assert stored.is_overdue(NOW + age) == is_overdue
    renewed = Update(
        keys.head_key(ground.response_id),
        "SET lease = :now",
        "attribute_exists(pk)",
        values={":now": NOW + 5},
    )
    await ground.table.update(renewed)
    ended = await end_overdue(ground.table, stored, now=NOW + age)
    assert ended is not None
    assert ended.status == "in_progress"
    ended = await end_overdue(ground.table, ended, now=NOW + age, by="a")
    assert ended is not None
    assert (ended.status, ended.event, ended.ended_by) == ("failed", INTERRUPTED, "a")
    assert await end_overdue(ground.table, stored, now=NOW + age) == ended


async def test_a_queued_response_is_not_under_the_lease(ground: Ground) -> None:
    """It is over a minute after its function was called, and never before that."""
    stored = ground.stored(status="queued", lease=0.0)
    assert not stored.is_overdue(NOW + 1e6)
    stored = await ground.opened(status="queued", lease=0.0, invoked=NOW)
    assert not stored.is_overdue(NOW + 59)
    assert stored.is_overdue(NOW + 60)
    ended = await end_overdue(ground.table, stored, now=NOW + 60)
    assert ended is not None
    assert ended.status == "failed"


async def test_the_end_stands_where_the_next_segment_would_be(ground: Ground) -> None:
    """The terminal segment follows the last one, and has its counts."""
    await ground.opened()
    await put(ground, 0, 2)
    await put(ground, 2, 3)
    head = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert head is not None
    number, [event] = await end_segment(ground.table, head)
    assert number == 5
    assert type(event) is Failed
    assert (event.code, event.fenced) == (CANCELLED.code, 5)
    item = ground.items("S#")[-1]
    assert (item["p"], item["t"], item["end"]) == (3, 5, True)
    assert await end_segment(ground.table, head) == (number, [event])
    assert len(ground.items("S#")) == 3


async def test_an_end_without_segments(ground: Ground) -> None:
    """A response that ended before its first segment has the number 0 for its end."""
    await ground.opened()
    head = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert head is not None
    assert (await end_segment(ground.table, head))[0] == 0


async def test_a_flush_that_was_faster(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the producer's segment stands there first, the end takes the number behind it."""
    await ground.opened()
    await put(ground, 0, 2)
    head = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert head is not None
    query, raced = heads.put_segment, [False]

    async def race(*given: Any, **named: Any) -> Any:
        if not raced[0]:
            raced[0] = True
            await put(ground, 2, 4)
        return await query(*given, **named)

    monkeypatch.setattr(heads, "put_segment", race)
    assert (await end_segment(ground.table, head))[0] == 6


async def test_a_segment_is_put_once(ground: Ground) -> None:
    """The own segment stands if its answer was lost; another's is returned."""
    await ground.opened()
    ground.fates[:] = [Fate.UNANSWERED]
    await put(ground, 0, 2)
    other = Segment(0, [Start(1)], "other")
    item = await put_segment(ground.table, ground.response_id, other, expires=9)
    assert item is not None
    assert item["w"] == "producer"


async def test_a_late_segment_is_not_taken_for_the_end(ground: Ground) -> None:
    """A lost log's own segment that came late is not its terminal one."""
    await ground.opened()
    await put(ground, 0, 2, writer="a")
    end = Segment(0, [End()], "a", is_end=True)
    item = await put_segment(ground.table, ground.response_id, end, expires=9)
    assert item is not None
    assert "end" not in item


async def test_what_has_no_terminal_segment(ground: Ground) -> None:
    """A response that runs, or of which only the result is kept, has none."""
    stored = await ground.opened()
    with pytest.raises(ValueError, match="no terminal segment"):
        await end_segment(ground.table, stored)


async def test_a_table_that_does_not_answer(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that no attempt confirms raises."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    ground.fates[:] = [Fate.LOST] * limits.META_MAX_ATTEMPTS
    with pytest.raises(MeterUnavailable):
        await ground.opened()
    assert ground.items() == []
