"""Readers of a log: in order, without holes, to the end, and few at once."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import Update
from lambda_fn.event_log import Batch, Unended
from lambda_fn.events import End, Event, Failed
from lambda_fn.stream_log import keys, segments
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import (
    cancel_head,
    end_segment,
    put_segment,
    read_head,
)
from lambda_fn.stream_log.reading import LogSource, read_all, read_log
from lambda_fn.stream_log.segments import Segment
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground, token


async def put(ground: Ground, number: int, events: list[Event], *, is_end: bool = False) -> None:
    """Put a segment."""
    segment = Segment(number, events, "producer", 3, 1, is_end=is_end)
    assert await put_segment(ground.table, ground.response_id, segment, expires=9) is None


def reader(ground: Ground, after: int = -1, *, is_repeat: bool = False) -> LogSource:
    """Return a reader."""
    return read_log(ground.table, ground.response_id, after, is_repeat=is_repeat, now=ground.clock)


async def poll(source: LogSource) -> Batch | None:
    """Read what is there."""
    return await source.read(time.monotonic())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the head in each poll that finds nothing."""
    monkeypatch.setattr(limits, "LOG_HEAD_POLL", 0.0)
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)


async def test_a_log_is_read_from_any_event(ground: Ground) -> None:
    """A reader gets the events above the number that it names, in the middle of a segment too."""
    await ground.opened()
    events: list[Event] = [token(str(number)) for number in range(5)]
    await put(ground, 0, events[:3])
    await put(ground, 3, events[3:])
    await put(ground, 5, [End()], is_end=True)
    for after in range(-1, 5):
        source = reader(ground, after)
        found: list[Event] = []
        while not found or type(found[-1]) is not End:
            batch = await poll(source)
            assert batch is not None
            assert batch[0] == after + 1 + len(found)
            found += batch[1]
        assert found == [*events, End()][after + 1 :]
        with pytest.raises(Unended):
            await poll(source)


async def test_a_long_segment_is_decoded_in_parts(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader whose client is slow holds the events of one batch, not those of a whole page."""
    await ground.opened()
    events: list[Event] = [token(str(number)) for number in range(1_700)]
    await put(ground, 0, events[:1_200])
    await put(ground, 1_200, events[1_200:])
    await put(ground, 1_700, [End()], is_end=True)
    decoded: list[Event] = []

    def watched(data: bytes) -> Iterator[Event]:
        for event in events_of(data):
            decoded.append(event)
            yield event

    events_of = segments.events_of
    monkeypatch.setattr(segments, "events_of", watched)
    source, found = reader(ground), list[Event]()
    while not found or type(found[-1]) is not End:
        batch = await poll(source)
        assert batch is not None
        assert (batch[0], len(batch[1]) <= 500) == (len(found), True)
        found += batch[1]
        assert len(decoded) == len(found)
    assert found == [*events, End()]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_segment_that_has_other_events_than_it_says(ground: Ground, count: int) -> None:
    """It ends the reader without a terminal event."""
    await ground.opened()
    events: list[Event] = [token("a"), token("b")]
    [item] = segments.items(ground.response_id, Segment(0, events, "w"), expires=9)
    await ground.table.put({**item, "n": count})
    with pytest.raises(Unended):
        await poll(reader(ground))


async def test_a_reader_waits_for_more(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of a running response gets what comes, and None when its time is over."""
    monkeypatch.setattr(limits, "LOG_POLL", 0.001)
    await ground.opened()
    source = reader(ground)
    assert await poll(source) is None
    waiting = asyncio.ensure_future(source.read(time.monotonic() + 60))
    await asyncio.sleep(0)
    await put(ground, 0, [token()])
    assert await waiting == (0, [token()])


async def test_a_hole_is_never_skipped(ground: Ground) -> None:
    """A segment behind a number that is missing waits for it."""
    await ground.opened()
    await put(ground, 0, [token("0")])
    await put(ground, 2, [token("2")])
    source = reader(ground)
    assert await poll(source) == (0, [token("0")])
    assert await poll(source) is None
    await put(ground, 1, [token("1")])
    assert await poll(source) == (1, [token("1")])
    assert await poll(source) == (2, [token("2")])


async def test_a_log_of_many_pages(ground: Ground) -> None:
    """A log that takes several pages of a query is read whole."""
    await ground.opened()
    big = [
        token("".join(chr(0x4E00 + it * it * seed % 9_000) for it in range(90_000)))
        for seed in range(1, 9)
    ]
    for number, event in enumerate(big):
        await put(ground, number, [event])
    await put(ground, len(big), [End()], is_end=True)
    source = reader(ground)
    found: list[Event] = []
    while len(found) <= len(big):
        batch = await poll(source)
        assert batch is not None
        found += batch[1]
    assert found == [*big, End()]
    head = await read_head(ground.table, ground.response_id, now=NOW)
    assert head is not None
    assert [it.number for it in await read_all(ground.table, head)] == list(range(len(big) + 1))


async def test_a_dead_producer_is_ended(ground: Ground) -> None:
    """A reader that finds the lease 30 s old ends the response as failed."""
    await ground.opened()
    await put(ground, 0, [token()])
    source = reader(ground)
    assert await poll(source) == (0, [token()])
    ground.now += limits.LEASE - 1
    assert await poll(source) is None
    ground.now += 1
    assert await poll(source) is None
    batch = await poll(source)
    assert batch is not None
    number, [event] = batch
    assert number == 1
    assert type(event) is Failed
    assert (event.code, event.fenced) == ("interrupted", 1)


async def test_a_missing_end_is_put(ground: Ground) -> None:
    """A final head without its terminal segment gets it after 5 s, and not before."""
    await ground.opened()
    await cancel_head(ground.table, ground.response_id, now=NOW)
    source = reader(ground)
    ground.now += limits.END_PATIENCE - 1
    assert await poll(source) is None
    assert ground.items("S#") == []
    ground.now += 1
    assert await poll(source) is None
    batch = await poll(source)
    assert batch is not None
    assert type(batch[1][0]) is Failed


async def test_a_response_that_is_gone(ground: Ground) -> None:
    """A reader of a response that was deleted ends without a terminal event."""
    await ground.opened()
    source = reader(ground)
    assert await poll(source) is None
    deletion = Update(
        keys.head_key(ground.response_id),
        "SET deleted = :now",
        "attribute_exists(pk)",
        values={":now": 1},
    )
    await ground.table.update(deletion)
    with pytest.raises(Unended):
        await poll(source)


@pytest.mark.parametrize("broken", [{"v": 99}, {"d": b"?"}, {"n": 7}])
async def test_a_log_that_cannot_be_read(ground: Ground, broken: dict[str, Any]) -> None:
    """A segment of a later version, or a malformed one, ends the reader without a terminal event.

    A segment is never left out.
    """
    await ground.opened()
    [item] = segments.items(ground.response_id, Segment(0, [token()], "w"), expires=9)
    await ground.table.put({**item, **broken})
    with pytest.raises(Unended):
        await poll(reader(ground))


async def test_a_table_that_does_not_answer(ground: Ground) -> None:
    """A reader lives through some calls without an answer, and then ends."""
    await ground.opened()
    source = reader(ground)
    calls = limits.META_MAX_ATTEMPTS
    ground.fates[:] = [Fate.LOST] * calls
    assert await poll(source) is None
    await put(ground, 0, [token()])
    assert await poll(source) == (0, [token()])
    ground.fates[:] = [Fate.LOST] * calls * 4
    for _ in range(3):
        assert await poll(source) is None
    with pytest.raises(Unended):
        await poll(source)


@pytest.fixture
def renewing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew the lease of a slot at each poll. The producer's lease does not end."""
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.0)
    monkeypatch.setattr(limits, "LEASE", 1e9)


@pytest.mark.usefixtures("renewing")
async def test_four_readers_at_once(ground: Ground) -> None:
    """A fifth reader takes the slot of the oldest one, which ends at its next renewal."""
    await ground.opened()
    sources = []
    for _ in range(5):
        ground.now += 1
        sources.append(reader(ground))
        assert await poll(sources[-1]) is None
    assert len(ground.items("HEAD#READER#")) == keys.SLOTS == 4
    with pytest.raises(Unended):
        await poll(sources[0])
    for source in sources[1:]:
        assert await poll(source) is None

    def taken() -> int:
        return sum(it["tail_until"] > 0 for it in ground.items("HEAD#READER#"))

    await sources[2].close()
    assert taken() == 3
    await sources[0].close()
    assert taken() == 3


@pytest.mark.usefixtures("renewing")
async def test_repeats_take_no_slot_from_others(ground: Ground) -> None:
    """They read on without one, also after a reader took theirs, and take one that is free."""
    await ground.opened()
    ground.now += 1
    readers = [reader(ground) for _ in range(2)]
    repeats = [reader(ground, is_repeat=True) for _ in range(9)]
    for source in (*readers, *repeats, *readers):
        assert await poll(source) is None
    held = {it["reader"] for it in ground.items("HEAD#READER#")}
    assert len(held) == keys.SLOTS
    ground.now += 1
    newer = [reader(ground) for _ in range(2)]
    for source in (*newer, *repeats):
        assert await poll(source) is None
    await newer[0].close()
    assert await poll(repeats[-1]) is None
    assert sum(it["tail_until"] > 0 for it in ground.items("HEAD#READER#")) == keys.SLOTS
    for source in (*readers, newer[1]):  # repeats yielded, and not the readers that are older
        assert await poll(source) is None
    await put(ground, 0, [token()])
    for source in repeats:
        assert await poll(source) == (0, [token()])


@pytest.mark.usefixtures("renewing")
async def test_a_repeat_that_has_a_slot_again_tells_it(ground: Ground) -> None:
    """The head names it, so that the producer looks at the slots and flushes sooner."""
    await ground.opened()
    repeat = reader(ground, is_repeat=True)
    assert await poll(repeat) is None
    name = ground.items("HEAD#READER#")[0]["reader"]
    readers = [reader(ground) for _ in range(keys.SLOTS)]
    for source in (*readers, repeat):
        assert await poll(source) is None
    tailer = ground.items("HEAD")[0]["tailer"]
    assert tailer != name
    await readers[0].close()
    assert await poll(repeat) is None
    assert ground.items("HEAD")[0]["tailer"] == name


async def test_the_slot_of_a_dead_reader(ground: Ground) -> None:
    """A slot whose lease is over is taken before that of a living reader."""
    await ground.opened()
    sources = []
    for _ in range(4):
        sources.append(reader(ground))
        assert await poll(sources[-1]) is None
    ground.now += limits.READER_LEASE
    assert await poll(reader(ground)) is None
    assert {item["tail_until"] for item in ground.items("HEAD#READER#")} == {
        NOW + limits.READER_LEASE,
        NOW + 2 * limits.READER_LEASE,
    }


async def test_a_finished_log_takes_no_slot(ground: Ground) -> None:
    """Who reads a response that has ended writes nothing."""
    await ground.opened()
    await put(ground, 0, [End()], is_end=True)
    ground.network.calls.clear()
    assert await poll(reader(ground)) == (0, [End()])
    assert ground.network.calls == ["Query"]


async def test_a_log_with_a_hole_is_not_read_whole(ground: Ground) -> None:
    """`read_all` raises for a segment that is missing, and stops at the terminal one."""
    stored = await ground.opened()
    await put(ground, 1, [token()])
    with pytest.raises(Incomplete):
        await read_all(ground.table, stored)
    await put(ground, 0, [token()])
    await put(ground, 2, [End()], is_end=True)
    await put(ground, 3, [token()])
    assert [it.number for it in await read_all(ground.table, stored)] == [0, 1, 2]


async def test_an_end_is_put_while_it_is_read(ground: Ground) -> None:
    """A reader gets the terminal segment that somebody else puts."""
    await ground.opened()
    source = reader(ground)
    assert await poll(source) is None
    head = await cancel_head(ground.table, ground.response_id, now=NOW)
    assert head is not None
    standing = await end_segment(ground.table, head)
    assert await poll(source) == standing
