"""The producer's side of a log: when it writes, what it waits for, and how it gives up."""

import asyncio
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Update
from lambda_fn.errors import Cancelled, UpstreamFailed
from lambda_fn.event_log import LogEnded, failed_by
from lambda_fn.events import End, Event, Failed, Finish, Start
from lambda_fn.stream_log import keys, table_log
from lambda_fn.stream_log.heads import (
    LOST,
    StoredHead,
    cancel_head,
    end_segment,
    put_segment,
    read_head,
    win,
)
from lambda_fn.stream_log.reading import read_log
from lambda_fn.stream_log.removal import hide, remove, unfinished
from lambda_fn.stream_log.table_log import TableLog
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground, look, token


@pytest.fixture(autouse=True)
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write only what is due at once, and read the head only when a test does."""
    for name in ("LOG_FLUSH", "LOG_FLUSH_TAILED", "LOG_WATCH", "LOG_GIVE_UP", "LOG_OPEN_TIMEOUT"):
        monkeypatch.setattr(limits, name, 600.0)
    monkeypatch.setattr(limits, "LOG_FLUSH_FIRST", 0.0)
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)


async def begun() -> None:
    """Wait until what is due at once has begun. A timer rings two turns of the loop later."""
    for _ in range(3):
        await asyncio.sleep(0)


async def written(log: TableLog) -> None:
    """Wait until what is due at once was written."""
    await begun()
    while log._flushing is not None:
        await asyncio.wait([log._flushing])


async def head_of(ground: Ground) -> StoredHead:
    """Return the head as it stands."""
    head = await read_head(ground.table, ground.response_id, now=NOW)
    assert head is not None
    return head


async def test_the_first_token_is_written_at_once(ground: Ground) -> None:
    """The first delta is written at once, with what came before it; the next one waits."""
    log = await ground.log()
    assert log.append((0, [Start(3)])) is None
    await begun()
    assert log._flushing is None
    assert log.append((1, ground.tokens(1))) is None
    assert log._flushing is None  # its client gets it first
    await written(log)
    assert log.append((2, ground.tokens(1))) is None
    await begun()
    assert [(item["n"], item["p"], item["t"]) for item in ground.items("S#")] == [(2, 3, 1)]
    await log.end((3, [End()]))
    await log.close()
    assert [item["n"] for item in ground.items("S#")] == [2, 1, 1]


@pytest.mark.parametrize("tailed", [False, True])
async def test_tokens_are_written_together(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, *, tailed: bool
) -> None:
    """Later tokens are written together when the time is over, which is shorter for a reader."""
    monkeypatch.setattr(limits, "LOG_FLUSH_TAILED" if tailed else "LOG_FLUSH", 0.0)
    puts, twice = [0], asyncio.Event()

    async def count(*given: Any, **named: Any) -> Any:
        standing = await put_segment(*given, **named)
        puts[0] += 1
        if puts[0] == 2:
            twice.set()
        return standing

    monkeypatch.setattr(table_log, "put_segment", count)
    log = await ground.log()
    if tailed:
        await read_log(ground.table, ground.response_id, now=ground.clock).read(0)
        assert not await look(ground.table, log)
    log.append((0, ground.tokens(1)))
    await written(log)
    for number in range(1, 9):
        log.append((number, ground.tokens(1)))
    await twice.wait()
    await log.close()
    assert [item["n"] for item in ground.items("S#")] == [1, 8]


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_much_text_is_written_at_once(ground: Ground, waiting: int) -> None:
    """32 kB do not wait for the time, nor what has waited before them."""
    log = await ground.log()
    log.append((0, ground.tokens(1)))
    await written(log)
    for number in range(waiting):
        log.append((1 + number, ground.tokens(1)))
    assert log._flushing is None
    log.append((1 + waiting, [token("x" * limits.LOG_FLUSH_BYTES)]))
    await written(log)
    await log.close()
    assert [item["n"] for item in ground.items("S#")] == [1, waiting + 1]


class Held:
    """Puts segments only when it may, and fails if it is to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of `put_segment`."""
        self.go_on = asyncio.Event()
        self.fails = False
        monkeypatch.setattr(table_log, "put_segment", self._put)

    async def _put(self, *given: Any, **named: Any) -> Any:
        await self.go_on.wait()
        if self.fails:
            raise MeterUnavailable("lost")
        return await put_segment(*given, **named)


async def held(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> tuple[TableLog, Held]:
    """Return a log whose first token is being written, while two more wait."""
    puts, log = Held(monkeypatch), await ground.log()
    for number in range(3):
        assert log.append((number, ground.tokens(1))) is None
        await begun()
    return log, puts


async def test_a_token_behind_others_has_to_follow(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that does not follow is refused also where tokens only wait for a write."""
    log, puts = await held(ground, monkeypatch)
    with pytest.raises(ValueError, match="event 5 does not follow event 2"):
        log.append((5, ground.tokens(1)))
    puts.go_on.set()
    await written(log)
    await log.close()


async def test_a_log_that_is_lost_while_tokens_wait(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next token is told, so that its client is."""
    log, puts = await held(ground, monkeypatch)
    puts.fails = True
    puts.go_on.set()
    await written(log)
    with pytest.raises(MeterUnavailable):
        log.append((3, ground.tokens(1)))
    await log.close()


async def test_text_behind_much_that_is_written_waits(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being written counts for the limit of bytes."""
    monkeypatch.setattr(limits, "LOG_UNACKNOWLEDGED_BYTES", 40_000)
    puts, log = Held(monkeypatch), await ground.log()
    assert log.append((0, [token("x" * 20_000)])) is None
    await begun()
    assert log.append((1, [token("x" * 8_000)])) is None
    assert log.append((2, [token("x" * 8_000)])) is None
    assert log.append((3, [token("x" * 8_000)])) is not None
    puts.go_on.set()
    await written(log)
    await log.close()


@pytest.mark.parametrize("is_held", [False, True])
async def test_nothing_is_written_after_close(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, *, is_held: bool
) -> None:
    """A log that is left without an end sets no further write, as its environment may be frozen."""
    log, puts = await held(ground, monkeypatch)
    if is_held:
        closing = asyncio.ensure_future(log.close())
        await asyncio.sleep(0)
        puts.go_on.set()
        await closing
    else:
        puts.go_on.set()
        await written(log)
        assert log._watch.flushes._due
        await log.close()
    assert not log._watch.flushes._due
    assert log._watch.flushes._timer is None


async def test_delivery_waits_for_the_table(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 500 events are delivered that the table has not confirmed, and one write is made."""
    assert limits.LOG_UNACKNOWLEDGED == 500
    gate, under_way = asyncio.Event(), [0]

    async def slow(*given: Any, **named: Any) -> Any:
        under_way[0] += 1
        assert under_way[0] == 1
        await gate.wait()
        under_way[0] -= 1
        return await put_segment(*given, **named)

    monkeypatch.setattr(table_log, "put_segment", slow)
    log = await ground.log()
    for number in range(500):
        assert log.append((number, ground.tokens(1))) is None
    waiting = log.append((500, ground.tokens(1)))
    assert waiting is not None
    assert log.append((501, ground.tokens(1))) is waiting
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    await waiting
    await written(log)
    await log.close()
    assert sum(item["n"] for item in ground.items("S#")) > 0


async def test_delivery_waits_for_many_bytes(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few large events make delivery wait, too, so that memory is bounded."""
    monkeypatch.setattr(limits, "LOG_UNACKNOWLEDGED_BYTES", 10_000)
    log = await ground.log()
    waiting = log.append((0, [token("x" * 10_000)]))
    assert waiting is not None
    await waiting
    await log.close()


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([Finish("stop"), End()], "completed"),
        ([Finish("length"), End()], "incomplete"),
        ([Finish("content_filter"), End()], "incomplete"),
        ([failed_by(UpstreamFailed("m"))], "failed"),
        ([failed_by(Cancelled("m"))], "cancelled"),
    ],
)
async def test_the_end_of_a_response(ground: Ground, events: list[Event], status: str) -> None:
    """All events are written before the head is won, and the terminal one after that."""
    log = await ground.log()
    first = [Start(3), *ground.tokens(2), *events[:-1]]
    log.append((0, first))
    end = (len(first), events[-1:])
    assert await log.end(end) == end
    await log.close()
    head = await head_of(ground)
    assert (head.status, head.last, head.event) == (status, len(first), events[-1])
    assert (head.prompt_tokens, head.completion_tokens) == (3, 2)
    assert [item["n"] for item in ground.items("S#")] == [len(first), 1]
    assert ground.items("S#")[-1]["end"]
    found = await read_log(ground.table, ground.response_id, now=ground.clock).read(0)
    assert found == (0, first)
    with pytest.raises(ValueError, match="does not follow"):
        log.append((99, []))


async def test_all_items_have_one_expiry(ground: Ground) -> None:
    """Every item of the response expires with its head."""
    log = await ground.log()
    log.append((0, ground.tokens(1)))
    await log.end((1, [End()]))
    await log.close()
    assert {item["expires"] for item in ground.items()} == {int(NOW) + 86_400}
    assert all(item["v"] == keys.VERSION for item in ground.items())


async def test_a_cancel_is_seen_in_the_head(ground: Ground) -> None:
    """The producer is told, and its end is the one that stands."""
    told: list[bool] = []
    log = await ground.log()
    log.on_end = told.append
    log.append((0, ground.tokens(1)))
    await written(log)
    log.append((1, ground.tokens(1)))
    cancelled = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert cancelled is not None
    assert await look(ground.table, log)
    assert told == [True]
    with pytest.raises(LogEnded):
        log.append((2, ground.tokens(1)))
    number, [event] = await log.end((2, [End()]))
    assert number == 1
    assert type(event) is Failed
    assert (event.code, event.fenced) == ("cancelled", 1)
    assert await end_segment(ground.table, cancelled) == (number, [event])
    await log.close()


@pytest.mark.parametrize("renew", [True, False])
async def test_a_deleted_response_is_left(ground: Ground, *, renew: bool) -> None:
    """The producer of a response that is deleted writes nothing more, and does not know its end."""
    told: list[bool] = []
    log = await ground.log()
    log.on_end = told.append
    deletion = Update(
        keys.head_key(ground.response_id),
        "SET deleted = :now",
        "attribute_exists(pk)",
        values={":now": 1},
    )
    await ground.table.update(deletion)
    assert await (log.renew() if renew else look(ground.table, log))
    assert told == [True]
    with pytest.raises(LookupError):
        await log.end((0, [End()]))
    assert ground.items("S#") == []
    await log.close()


async def test_what_a_deleted_response_still_writes_is_removed(ground: Ground) -> None:
    """A segment that comes after the removal leaves the head for another one to find."""
    log, key = await ground.log(), keys.head_key(ground.response_id)
    await cancel_head(ground.table, ground.response_id, now=NOW)
    await ground.table.update(hide(key, now=int(NOW)))
    await remove(ground.table, key, now=int(NOW))
    log.append((0, ground.tokens(1)))
    await written(log)
    assert ground.items("S#")
    with pytest.raises(LookupError):
        await log.end((1, [End()]))
    await log.close()
    assert [it async for it in unfinished(ground.table)] == [key]
    await remove(ground.table, key, now=int(NOW))
    assert [it["sk"] for it in ground.items()] == ["HEAD"]


async def test_anothers_segment_fences(ground: Ground) -> None:
    """A producer that meets the terminal segment in its place ends as that says."""
    told: list[bool] = []
    log = await ground.log()
    log.on_end = told.append
    cancelled = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert cancelled is not None
    standing = await end_segment(ground.table, cancelled)
    log.append((0, ground.tokens(1)))
    await written(log)
    assert told == [True]
    assert await log.end((1, [End()])) == standing
    await log.close()


async def test_a_waiting_delivery_is_told_of_the_fence(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for room learns that the response was ended."""
    monkeypatch.setattr(limits, "LOG_UNACKNOWLEDGED", 0)
    log = await ground.log()
    cancelled = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert cancelled is not None
    await end_segment(ground.table, cancelled)
    waiting = log.append((0, ground.tokens(1)))
    assert waiting is not None
    with pytest.raises(LogEnded):
        await waiting
    await log.close()


async def test_the_lease_is_renewed_with_the_counts(ground: Ground) -> None:
    """The lease and the counts until then are in the head, and no index is written."""
    log = await ground.log()
    ground.sampled, ground.now = 7, NOW + 5
    assert not await log.renew()
    head = await head_of(ground)
    assert (head.lease, head.prompt_tokens, head.completion_tokens) == (NOW + 5, 3, 7)
    assert not {"lease", "prompt_tokens", "completion_tokens"} & {
        *keys.OWNERS_PROJECTED,
        *keys.OWNERS_INDEX_KEY,
    }
    await log.close()


async def test_a_producer_that_was_ended_by_its_lease(ground: Ground) -> None:
    """A producer that lives is told that its response failed, which is no cancel."""
    told: list[bool] = []
    log = await ground.log()
    log.on_end = told.append
    ground.now += limits.LEASE
    source = read_log(ground.table, ground.response_id, now=ground.clock)
    while await source.read(0) is None:
        pass
    assert await log.renew()
    assert told == [False]
    number, [event] = await log.end((0, [End()]))
    assert type(event) is Failed
    assert (number, event.code) == (0, "interrupted")
    await log.close()


async def test_a_log_that_is_given_up(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 15 s without an answer the log is lost, and is closed by the fence when that works."""
    assert LOST.code == "log_unavailable"
    log = await ground.log()
    log.append((0, ground.tokens(1)))
    await written(log)
    monkeypatch.setattr(limits, "LOG_GIVE_UP", 0.01)
    ground.fates[:] = [Fate.LOST] * 100_000
    log.append((1, [token("x" * limits.LOG_FLUSH_BYTES)]))
    await written(log)
    with pytest.raises((TimeoutError, MeterUnavailable)):
        log.append((2, ground.tokens(1)))
    assert await log.end((2, [End()])) == (2, [End()])
    ground.fates.clear()
    monkeypatch.setattr(limits, "LOG_GIVE_UP", 60.0)
    await log.close()
    head = await head_of(ground)
    assert head.status == "failed"
    assert type(head.event) is Failed
    assert head.event.code == "log_unavailable"
    [first, end] = ground.items("S#")
    assert (first["n"], end["end"], keys.segment_number(end)) == (1, True, 1)


async def test_a_lost_log_still_sees_a_cancel(ground: Ground) -> None:
    """Of the head, only a cancel stops a response whose log is lost."""
    for status, expected in (("cancelled", [True]), ("failed", [])):
        told: list[bool] = []
        ground.response_id = ground.response_id[:-1] + status[0]
        log = await ground.log()
        log.on_end = told.append
        log._lost = OSError()
        ending = Update(
            keys.head_key(ground.response_id),
            "SET #status = :status",
            "attribute_exists(pk)",
            names={"#status": "status"},
            values={":status": status},
        )
        await ground.table.update(ending)
        assert await look(ground.table, log)
        assert told == expected
        await log.close()


async def test_an_end_that_is_not_known(ground: Ground) -> None:
    """If the head is not confirmed, `end` raises, and the log says later how it ended."""
    log = await ground.log()
    log.append((0, ground.tokens(1)))
    await written(log)
    ground.fates[:] = [Fate.UNANSWERED, Fate.WELL]
    number, _ = await log.end((1, [End()]))
    assert number == 1
    await log.close()
    assert (await head_of(ground)).status == "completed"


async def test_an_end_that_nobody_waits_for(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` waits until the end is written, though the producer has given it up."""
    going = asyncio.Event()

    async def hold(*given: Any, **named: Any) -> Any:
        await going.wait()
        return await win(*given, **named)

    monkeypatch.setattr(table_log, "win", hold)
    log = await ground.log()
    log.append((0, ground.tokens(1)))
    ending = log.end((1, [End()]))
    await written(log)
    assert not log.has_end
    closing = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)
    assert not closing.done()
    going.set()
    await closing
    assert (log.has_end, ending.done()) == (True, True)
    assert (await head_of(ground)).status == "completed"
    assert ground.items("S#")[-1]["end"]


async def test_an_end_that_cannot_be_written(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` gives it up when its time is over. The log knows that it has no end."""
    log = await ground.log()
    monkeypatch.setattr(limits, "LOG_GIVE_UP", 0.01)
    ground.fates[:] = [Fate.LOST] * 100_000
    ending = log.end((0, [End()]))
    await log.close()
    assert ending.done()
    assert not log.has_end
    ground.fates.clear()
    assert (await head_of(ground)).status == "in_progress"


async def test_an_end_before_the_producer_is_known(ground: Ground) -> None:
    """Whoever asks learns that the response was ended, although nobody was to be told."""
    log = await ground.log()
    assert log.was_cancelled is None
    assert await cancel_head(ground.table, ground.response_id, now=NOW) is not None
    assert await look(ground.table, log)
    assert log.was_cancelled


async def test_a_head_that_cannot_be_written(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`open` raises within its time."""
    monkeypatch.setattr(limits, "LOG_OPEN_TIMEOUT", 0.01)
    ground.fates[:] = [Fate.LOST] * 100_000
    with pytest.raises((TimeoutError, MeterUnavailable)):
        await ground.log()
    ground.fates.clear()
