"""The writes by which a queued response is started, claimed, and waits again."""

import pytest

from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.stream_log import queued
from lambda_fn.stream_log.heads import (
    EXPIRED,
    INTERRUPTED,
    QUEUED_TIME,
    StoredHead,
    cancel_head,
    end_overdue,
    read_head,
)
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground

WAITING = {"status": "queued", "starter": "first", "until": NOW + 3600, "kept": "result"}
CALLED = {**WAITING, "invoked": NOW}


async def found(ground: Ground) -> StoredHead:
    """Return the head as it stands."""
    head = await read_head(ground.table, ground.response_id, now=ground.now)
    assert head is not None
    return head


async def claim(ground: Ground, head: StoredHead, by: str = "run") -> StoredHead | None:
    """Claim a response."""
    return await queued.claim(ground.table, head, run=f"{by}-id", by=by, now=ground.now)


async def test_request(ground: Ground) -> None:
    """The request of a response is kept as it came."""
    asked = queued.Asked("/v1/responses", '{"input": "é"}', {"x-a": "b"}, "203.0.113.9")
    parts = await queued.write_request(ground.table, ground.response_id, asked, expires=9)
    head = await ground.opened(**CALLED, bodies={"request": parts})
    assert await queued.read_request(ground.table, head) == asked
    assert await queued.read_request(ground.table, ground.stored()) is None


async def test_the_way_of_a_response_that_waits(ground: Ground) -> None:
    """It is claimed, waits, is started and claimed again, and its head says so each time."""
    first = await claim(ground, await ground.opened(**CALLED))
    assert first is not None
    assert (first.status, first.writer, first.run_id) == ("in_progress", "run", "run-id")
    assert await queued.wait(ground.table, first)
    waiting = await found(ground)
    assert waiting.is_waiting
    assert (waiting.run, waiting.run_id) == (None, ground.response_id)
    started = await queued.start(ground.table, waiting, now=NOW + 60)
    assert started is not None
    assert started.invoked == NOW + 60
    ground.now = NOW + 61
    again = await claim(ground, started, "other")
    assert again is not None
    assert again.writer == "other"


async def test_one_that_was_not_queued(ground: Ground) -> None:
    """A response that runs at once waits as others do, once, with its request."""
    head = await ground.opened(bodies={"input": 1}, writer="own")
    waiting = await queued.enqueue(ground.table, head, parts=2, until=NOW + 3600, now=NOW)
    assert waiting is not None
    assert waiting == await found(ground)
    assert (waiting.is_waiting, waiting.until) == (True, NOW + 3600)
    assert waiting.bodies == {"input": 1, "request": 2}
    assert await queued.enqueue(ground.table, head, parts=2, until=NOW, now=NOW) is None
    started = await queued.start(ground.table, waiting, now=NOW)
    assert started is not None
    assert await claim(ground, started) is not None


async def test_one_that_was_ended_before_it_was_queued(ground: Ground) -> None:
    """A response that was cancelled meanwhile does not wait."""
    head = await ground.opened(bodies={"input": 1}, writer="own")
    assert await cancel_head(ground.table, ground.response_id, now=NOW)
    assert await queued.enqueue(ground.table, head, parts=1, until=NOW, now=NOW) is None
    assert (await found(ground)).status == "cancelled"


async def test_two_starters(ground: Ground) -> None:
    """Of two that start a response at once, one calls its function."""
    waiting = await ground.opened(**WAITING)
    results = [await queued.start(ground.table, waiting, now=NOW + at) for at in (1, 2)]
    assert [it is not None for it in results] == [True, False]


async def test_two_calls(ground: Ground) -> None:
    """A call that comes twice is claimed once, also if the first run has let it wait again."""
    head = await ground.opened(**CALLED)
    first = await claim(ground, head)
    assert first is not None
    assert await claim(ground, head, "second") is None
    assert await queued.wait(ground.table, first)
    assert await claim(ground, head, "second") is None
    started = await queued.start(ground.table, await found(ground), now=NOW + 1)
    assert started is not None
    assert await claim(ground, head, "second") is None  # the first call once more


@pytest.mark.parametrize(("late", "claimed"), [(QUEUED_TIME - 0.01, True), (QUEUED_TIME, False)])
async def test_late_calls(ground: Ground, late: float, claimed: bool) -> None:
    """A call that comes after a minute does nothing: the response may have been ended."""
    head = await ground.opened(**CALLED)
    ground.now = NOW + late
    assert head.is_overdue(ground.now) is not claimed
    assert (await claim(ground, head) is not None) is claimed


async def test_a_lost_call(ground: Ground) -> None:
    """A response whose call is lost is ended after a minute, and cannot be claimed then."""
    head = await ground.opened(**CALLED)
    ground.now = NOW + QUEUED_TIME
    ended = await end_overdue(ground.table, head, now=ground.now)
    assert ended is not None
    assert (ended.status, ended.event) == ("failed", INTERRUPTED)
    ground.now = NOW + 1
    assert await claim(ground, head) is None


async def test_the_age_limit(ground: Ground) -> None:
    """A response that waits is not under the minute, and is ended when it has waited too long."""
    head = await ground.opened(**WAITING)
    assert not head.is_overdue(NOW + 3599)
    assert head.is_overdue(NOW + 3600)
    ended = await end_overdue(ground.table, head, now=NOW + 3600)
    assert ended is not None
    assert ended.event == EXPIRED


async def test_the_age_limit_against_a_start(ground: Ground) -> None:
    """A response that was started since it was read is not ended as one that waits."""
    head = await ground.opened(**WAITING)
    assert await queued.start(ground.table, head, now=NOW + 3599.5)
    ended = await end_overdue(ground.table, head, now=NOW + 3600)
    assert ended is not None
    assert not ended.is_final


async def test_cancelled_while_it_waits(ground: Ground) -> None:
    """A response that was cancelled is neither started nor claimed, and no run waits on."""
    head = await ground.opened(**WAITING)
    assert await cancel_head(ground.table, ground.response_id, now=NOW)
    assert await queued.start(ground.table, head, now=NOW) is None
    assert await claim(ground, head) is None
    assert (await found(ground)).status == "cancelled"


async def test_cancelled_while_it_runs(ground: Ground) -> None:
    """A run whose response was cancelled neither renews its lease nor lets it wait."""
    head = await claim(ground, await ground.opened(**CALLED))
    assert head is not None
    assert await queued.renew(ground.table, head, (3, 4), now=NOW + 5) is None
    assert (await found(ground)).completion_tokens == 4
    await cancel_head(ground.table, ground.response_id, now=NOW)
    item = await queued.renew(ground.table, head, (3, 5), now=NOW + 10)
    assert item is not None
    assert item["status"] == "cancelled"
    assert not await queued.wait(ground.table, head)


async def test_a_refused_call(ground: Ground) -> None:
    """A response whose function was not called waits again, unless another call was made."""
    head = await ground.opened(**WAITING)
    started = await queued.start(ground.table, head, now=NOW)
    assert started is not None
    await queued.unstart(ground.table, started)
    assert (await found(ground)).is_waiting
    other = await queued.start(ground.table, await found(ground), now=NOW + 1)
    assert other is not None
    await queued.unstart(ground.table, started)
    assert (await found(ground)).invoked == NOW + 1


@pytest.mark.parametrize("step", ["start", "claim", "wait"])
async def test_an_attempt_whose_answer_was_lost(ground: Ground, step: str) -> None:
    """An own write that was carried out is told from another's."""
    head = await ground.opened(**(WAITING if step == "start" else CALLED))
    if step == "wait":
        claimed = await claim(ground, head)
        assert claimed is not None
        head = claimed
    ground.fates[:] = [Fate.UNANSWERED]
    if step == "start":
        assert await queued.start(ground.table, head, now=NOW) is not None
    elif step == "claim":
        assert await claim(ground, head) is not None
    else:
        assert await queued.wait(ground.table, head)


async def test_a_table_that_is_down(ground: Ground) -> None:
    """A write that is not confirmed is an error."""
    head = await ground.opened(**CALLED)
    ground.fates[:] = [Fate.LOST] * 4
    with pytest.raises(MeterUnavailable):
        await claim(ground, head)
