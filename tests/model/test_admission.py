"""Admission: places and queues, and the bridge from threads to the event loop."""

from __future__ import annotations

import asyncio

import pytest

from model.admission import Admission
from model.engines.bridge import Bridge
from model.errors import EngineError, InvalidRequestError, OverloadedError
from model.events import Delta, Event


class Holder:
    """A request that holds places until it is released."""

    def __init__(self, admission: Admission, count: int = 1, caller: str = "") -> None:
        self.entered = asyncio.Event()
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(admission, count, caller))

    async def _hold(self, admission: Admission, count: int, caller: str) -> None:
        async with admission.places(count, caller):
            self.entered.set()
            await self._leave.wait()

    async def let_go(self) -> None:
        """Release the places."""
        self._leave.set()
        await self.task


async def settle() -> None:
    """Wait until no task can continue."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    """Waiting requests get places in turn. A small one does not overtake a large one."""
    admission = Admission(2, 9)
    holders = [Holder(admission), Holder(admission), Holder(admission, 2), Holder(admission)]
    await settle()
    assert [holder.entered.is_set() for holder in holders] == [True, True, False, False]

    await holders[0].let_go()
    await settle()
    assert [holder.entered.is_set() for holder in holders[2:]] == [False, False]

    await holders[1].let_go()
    await settle()
    assert [holder.entered.is_set() for holder in holders[2:]] == [True, False]

    await holders[2].let_go()
    await holders[3].let_go()
    assert admission.waiting == 0


def entered(*holders: Holder) -> list[bool]:
    """Return the requests that have got their places."""
    return [holder.entered.is_set() for holder in holders]


async def test_who_holds_none_is_next() -> None:
    """A caller with fewer places comes first, even if its requests came later."""
    admission = Admission(2, 9)
    first, second, third, fourth = (Holder(admission, 1, "flood") for _ in range(4))
    await settle()
    other = Holder(admission, 1, "other")
    await settle()
    assert entered(first, second, third, fourth, other) == [True, True, False, False, False]

    await first.let_go()
    await settle()
    assert entered(third, other) == [False, True]
    await second.let_go()
    await settle()
    # Both hold one place or none, so the earlier one is first.
    assert entered(third, fourth) == [True, False]
    for holder in (other, third, fourth):
        await holder.let_go()
    assert not admission._callers


async def test_places_are_kept() -> None:
    """A caller leaves some places to callers without any.

    A caller without a name may take all places.
    """
    admission = Admission(16, 99)
    flood = [Holder(admission, 1, "flood") for _ in range(20)]
    await settle()
    assert sum(entered(*flood)) == 14
    other = Holder(admission, 2, "other")
    await settle()
    assert entered(other) == [True]
    for holder in (*flood, other):
        await holder.let_go()

    unnamed = [Holder(admission) for _ in range(16)]
    await settle()
    assert all(entered(*unnamed))
    for holder in unnamed:
        await holder.let_go()


async def test_a_large_one_is_passed() -> None:
    """Smaller requests of other callers may pass one for eight places, but not for ever."""
    admission = Admission(8, 99)
    running = Holder(admission, 1, "long")
    await settle()
    large = Holder(admission, 8, "large")
    await settle()
    passing = 0
    for number in range(20):
        small = Holder(admission, 1, f"small {number}")
        await settle()
        if not entered(small)[0]:
            break
        passing += 1
        await small.let_go()
    assert passing == 8

    await running.let_go()
    await settle()
    assert entered(large, small) == [True, False]
    await large.let_go()
    await small.let_go()


@pytest.mark.parametrize("calls", [1, 8])
async def test_a_flood_beside_a_neighbour(calls: int) -> None:
    """During a flood, another caller's short requests wait for at most one answer to end."""
    admission = Admission(16, 256)
    ends: list[str] = []

    async def ask(count: int, caller: str) -> None:
        async with admission.places(count, caller):
            for _ in range(10):
                await asyncio.sleep(0)
        ends.append(caller)

    flood = [asyncio.create_task(ask(calls, "flood")) for _ in range(100)]
    await settle()
    for number in range(5):
        before = len(ends)
        await ask(1, "neighbour")
        assert len(ends) - before <= 16 + 1, number
    await asyncio.gather(*flood)
    assert admission._free == 16


async def test_queue_of_a_caller() -> None:
    """A caller may fill half of the queue. Only its requests over that are rejected."""
    admission = Admission(1, 4)
    holders = [Holder(admission, 1, "flood") for _ in range(3)]
    await settle()
    with pytest.raises(OverloadedError, match="2 requests of this caller"):
        await admission.places(1, "flood").__aenter__()

    others = [Holder(admission, 1, name) for name in "ab"]
    await settle()
    assert admission.waiting == 4
    with pytest.raises(OverloadedError, match="1 requests are running and 4 waiting"):
        await admission.places(1, "c").__aenter__()

    for holder in (*holders, *others):
        await holder.let_go()
    assert not admission._callers


async def test_queue_is_bounded() -> None:
    """Requests over the length of the queue are rejected at once."""
    admission = Admission(1, 1)
    first, second = Holder(admission), Holder(admission)
    await settle()

    with pytest.raises(OverloadedError):
        await admission.places(1).__aenter__()

    await first.let_go()
    await second.let_go()


async def test_more_than_there_is() -> None:
    """A request for more places than exist would wait for ever, and is rejected."""
    with pytest.raises(InvalidRequestError):
        await Admission(2, 9).places(3).__aenter__()


@pytest.mark.parametrize("admitted", [False, True])
async def test_cancelled_while_waiting(admitted: bool) -> None:
    """A cancelled request leaves the queue, or releases the place that it has just got.

    The next request continues.
    """
    admission = Admission(1, 9)
    first = admission.places(1)
    await first.__aenter__()
    second, third = Holder(admission), Holder(admission)
    await settle()
    if admitted:
        # This admits the second request, which has not run since.
        await first.__aexit__(None, None, None)
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    if not admitted:
        await first.__aexit__(None, None, None)

    await asyncio.wait_for(third.entered.wait(), 60)
    await third.let_go()
    assert admission._free == 1


def deltas(count: int) -> list[Event]:
    """Return this many events."""
    return [Delta(0, 1, str(number)) for number in range(count)]


async def test_bridge_hands_over_in_order() -> None:
    """The bridge delivers what a thread writes in order, and then the end."""
    bridge = Bridge(1, 8)

    def write() -> None:
        for event in deltas(100):
            assert bridge.put([event])
        bridge.end()

    writer = asyncio.get_running_loop().run_in_executor(None, write)
    read = []
    while events := await bridge.take():
        assert len(events) <= 8
        read += events
    await writer

    assert read == deltas(100)


async def test_bridge_error_comes_last() -> None:
    """A writer's error is raised after everything that was written before it."""
    bridge = Bridge(2, 8)
    bridge.put(deltas(2))
    bridge.end(EngineError("first"))

    assert await bridge.take() == deltas(2)
    with pytest.raises(EngineError, match="first"):
        await bridge.take()


async def test_bridge_waits_for_all_writers() -> None:
    """The end is read after every writer has ended."""
    bridge = Bridge(2, 8)
    bridge.end()
    taking = asyncio.create_task(bridge.take())
    await settle()
    assert not taking.done()

    bridge.end()
    assert await taking == []


async def test_bridge_full() -> None:
    """A writer waits while the buffer is full. It is told if the reader has left."""
    bridge = Bridge(1, 2)
    loop = asyncio.get_running_loop()
    assert bridge.put(deltas(2))

    waiting = loop.run_in_executor(None, bridge.put, deltas(1))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    assert await bridge.take() == deltas(2)
    assert await asyncio.wait_for(waiting, 60)

    bridge.put(deltas(1))
    waiting = loop.run_in_executor(None, bridge.put, deltas(1))
    bridge.close()
    assert await asyncio.wait_for(waiting, 60) is False
    assert bridge.closed
