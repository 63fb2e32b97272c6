"""One timer and one call for all logs of an environment."""

import asyncio
import gc
import weakref
from collections.abc import Iterable, Mapping

import pytest

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import MAX_KEYS, Key, MeterUnavailable, Table
from lambda_fn.stream_log.heads import cancel_head
from lambda_fn.stream_log.keys import WATCHED, reader_key
from lambda_fn.stream_log.reading import read_log
from lambda_fn.stream_log.watching import Tails, Watch
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground, look


class Heads(Table):
    """A table of heads whose reads wait until a test lets them answer."""

    def __init__(self) -> None:
        """Begin without a read."""
        self.asked: list[set[Key]] = []
        self.answers = asyncio.Queue[dict[Key, Item | None]]()
        self.silent: set[Key] = set()
        """Keys whose reads are never answered."""

    async def get_many(
        self,
        keys: Iterable[Key],
        names: object,
        *,
        consistent: bool = True,
        max_attempts: int | None = None,
    ) -> dict[Key, Item | None]:
        """Wait for the answer."""
        assert (names, consistent, max_attempts) == (WATCHED, True, 1)
        self.asked.append({*keys})
        if self.silent & self.asked[-1]:
            await asyncio.get_running_loop().create_future()
        return await self.answers.get()


class Log:
    """A log that notes what it is told."""

    def __init__(self, name: str, *, ends: bool = False) -> None:
        """Take the partition key of its head, and whether it has ended when it is next seen."""
        self.key: Key = (name, "HEAD")
        self.has_lease = True
        self.ends = ends
        self.seen_in: list[Mapping[Key, Item | None]] = []
        self.renewed = 0
        self.renews = asyncio.Event()
        self.renews.set()
        self.fails = False

    def wanted(self) -> list[Key]:
        """Return the key of its head."""
        return [self.key]

    def seen(self, found: Mapping[Key, Item | None]) -> bool:
        """Note what was read."""
        self.seen_in.append(found)
        return self.ends

    async def renew(self) -> bool:
        """Note that the lease is renewed."""
        self.renewed += 1
        await self.renews.wait()
        if self.fails:
            raise MeterUnavailable
        return self.ends


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the timer silent until a test rings it."""
    monkeypatch.setattr(limits, "LOG_WATCH", 600.0)
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 1200.0)


async def settle() -> None:
    """Run all tasks until they wait."""
    for _ in range(8):
        await asyncio.sleep(0)


async def test_one_call_reads_all_heads() -> None:
    """A second has one read of all heads, and each log gets what was read."""
    table = Heads()
    watch, logs = Watch(table), [Log("a"), Log("b"), Log("b")]
    for log in logs:
        watch.add(log)
    watch._wake()
    await settle()
    assert table.asked == [{("a", "HEAD"), ("b", "HEAD")}]
    found: dict[Key, Item | None] = {("a", "HEAD"): {}}
    table.answers.put_nowait(found)
    await settle()
    assert [log.seen_in for log in logs] == [[found]] * 3
    for log in logs:
        watch.discard(log)


async def test_a_slow_read_is_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a read is under way, no other one begins. Leases are renewed meanwhile."""
    table = Heads()
    watch, log = Watch(table), Log("a")
    watch.add(log)
    watch._wake()
    await settle()
    watch._wake()
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.0)
    watch._wake()
    await settle()
    assert (len(table.asked), log.renewed) == (1, 1)
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 1200.0)
    table.answers.put_nowait({})
    await settle()
    watch._wake()
    await settle()
    assert len(table.asked) == 2
    watch.discard(log)


async def test_a_slow_read_of_some_heads() -> None:
    """The others are read each second meanwhile, and so are those of responses that begin."""
    table = Heads()
    table.silent = {("0", "HEAD")}
    watch, logs = Watch(table), [Log(f"{number}") for number in range(MAX_KEYS + 2)]
    for log in logs[:-1]:
        watch.add(log)
    for _ in range(2):
        watch._wake()
        await settle()
        table.answers.put_nowait({})
        await settle()
    watch.add(logs[-1])
    watch._wake()
    await settle()
    assert [len(keys) for keys in table.asked] == [MAX_KEYS, 1, 1, 2]
    assert [len(log.seen_in) for log in logs] == [0] * MAX_KEYS + [2, 0]
    for log in logs:
        watch.discard(log)
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_lease_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is renewed in place of a read, one at a time, and again after a failure."""
    table = Heads()
    watch, log, lost = Watch(table), Log("a"), Log("b")
    lost.has_lease = False
    watch.add(log)
    watch.add(lost)
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.0)
    log.renews.clear()
    watch._wake()
    watch._wake()
    await settle()
    assert (log.renewed, lost.renewed) == (1, 0)
    assert table.asked == [{("b", "HEAD")}]
    log.fails = True
    log.renews.set()
    await settle()
    watch._wake()
    await settle()
    assert log.renewed == 2
    for it in (log, lost):
        watch.discard(it)


@pytest.mark.parametrize("renew", [True, False])
async def test_a_response_that_has_ended_is_left(
    monkeypatch: pytest.MonkeyPatch, *, renew: bool
) -> None:
    """Nothing goes on after the last one, which may have ended by a read or a renewal."""
    table = Heads()
    watch, log = Watch(table), Log("a", ends=True)
    watch.add(log)
    if renew:
        monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.0)
    else:
        table.answers.put_nowait({})
    watch._wake()
    await settle()
    assert (watch._timer, watch._looking) == (None, set())
    assert not watch._logs


async def test_nothing_goes_on_without_logs() -> None:
    """The last log takes timer, read and renewal with it, and is not kept in memory."""
    table = Heads()
    watch, log, other = Watch(table), Log("a"), Log("b")
    watch.add(log)
    watch.add(other)
    other.renews.clear()
    watch._logs[other].renewed -= 2000
    watch._wake()
    await settle()
    assert (other.renewed, len(table.asked)) == (1, 1)
    before = asyncio.all_tasks()
    assert len(before) == 3
    watch.discard(other)
    watch.discard(other)
    watch.discard(log)
    assert [watch._timer] == [None]
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gone = weakref.ref(log), weakref.ref(other)
    del log, other, before
    gc.collect()
    assert [it() for it in gone] == [None, None]


async def test_a_log_after_a_pause() -> None:
    """A log that comes after the last one has left is watched again."""
    watch, log = Watch(Heads()), Log("a")
    for _ in range(2):
        watch.add(log)
        assert watch._timer is not None
        watch.discard(log)


async def test_a_log_that_left_during_a_read() -> None:
    """It is not told what was read."""
    table = Heads()
    watch, log, other = Watch(table), Log("a"), Log("b")
    watch.add(log)
    watch.add(other)
    watch._wake()
    await settle()
    watch.discard(log)
    table.answers.put_nowait({})
    await settle()
    assert (log.seen_in, other.seen_in) == ([], [{}])
    watch.discard(other)


async def test_the_timer_reads_and_renews(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is open sees a cancel without being asked, by the calls of its environment."""
    monkeypatch.setattr(limits, "LOG_WATCH", 0.001)
    ended = asyncio.Event()
    log = await ground.log()
    log.on_end = lambda _: ended.set()
    await cancel_head(ground.table, ground.response_id, now=NOW)
    await ended.wait()
    assert log._watch._timer is None
    await log.close()


async def test_a_read_that_fails_says_nothing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that was not read is as it was before."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    log = await ground.log()
    await cancel_head(ground.table, ground.response_id, now=NOW)
    ground.fates[:] = [Fate.LOST] * limits.META_MAX_ATTEMPTS
    assert not await look(ground.table, log)
    assert await look(ground.table, log)
    await log.close()


async def test_the_slots_are_read_while_they_are_held(ground: Ground) -> None:
    """A reader names itself in the head. Then the slots are read that are held."""
    log = await ground.log()
    tails = log._tails
    assert log.wanted() == [tails.head]
    await look(ground.table, log)
    assert tails.slots == []
    first, second = (read_log(ground.table, ground.response_id, now=ground.clock) for _ in range(2))
    await first.read(0)
    await look(ground.table, log)
    assert len(log.wanted()) == 5  # the slots are read the next time
    await second.read(0)
    for _ in range(2):
        await look(ground.table, log)
    slots = [reader_key(ground.response_id, slot)["sk"] for slot in range(2)]
    assert [sort for _, sort in log.wanted()] == ["HEAD", *slots]
    await first.close()
    await look(ground.table, log)
    assert [sort for _, sort in log.wanted()] == ["HEAD", slots[1]]
    ground.now += limits.READER_LEASE + 1
    await look(ground.table, log)
    assert log.wanted() == [tails.head]
    assert not tails.any
    await log.close()


async def test_a_reader_tells_the_producer_later(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader whose name did not reach the head writes it with its next renewal."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.0)
    await ground.opened()
    source = read_log(ground.table, ground.response_id, now=ground.clock)
    # the segments, the head, the slots and the slot
    ground.fates[:] = [Fate.WELL] * 4 + [Fate.LOST] * limits.META_MAX_ATTEMPTS
    await source.read(0)
    assert ground.fates == []
    assert "tailer" not in ground.items("HEAD")[0]
    await source.read(0)
    assert ground.items("HEAD")[0]["tailer"] == source._slot._name


def test_slots_that_were_not_read() -> None:
    """A slot that was held is held until it is read."""
    tails = Tails("x")
    tails.see({"tailer": "r"}, {}, now=NOW)
    assert len(tails.slots) == 4
    tails.see({"tailer": "r"}, {tails.slots[1]: None, tails.slots[2]: {"tail_until": 0}}, now=NOW)
    assert [sort[-1] for _, sort in tails.slots] == ["0", "3"]
    tails.see({"tailer": "s"}, dict.fromkeys(tails.slots), now=NOW)
    assert len(tails.slots) == 4
