"""Places and queues, and the bridge from threads to the loop."""

from __future__ import annotations

import asyncio

import pytest

from model.admission import Admission
from model.engines.bridge import Bridge
from model.errors import EngineError, InvalidRequestError, OverloadedError
from model.events import Delta, Event


class Holder:
    """Holds places until it is released."""

    def __init__(self, admission: Admission, count: int = 1) -> None:
        self.entered = asyncio.Event()
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(admission, count))

    async def _hold(self, admission: Admission, count: int) -> None:
        async with admission.places(count):
            self.entered.set()
            await self._leave.wait()

    async def let_go(self) -> None:
        """Release the places."""
        self._leave.set()
        await self.task


async def settle() -> None:
    """Wait until every task has gone as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    """Who waits gets a place in turn, and a small request does not overtake a large one."""
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


async def test_queue_is_bounded() -> None:
    """Over the queue requests are refused at once."""
    admission = Admission(1, 1)
    first, second = Holder(admission), Holder(admission)
    await settle()

    with pytest.raises(OverloadedError):
        await admission.places(1).__aenter__()

    await first.let_go()
    await second.let_go()


async def test_more_than_there_is() -> None:
    """A request for more places than there are would wait for ever, and is refused."""
    with pytest.raises(InvalidRequestError):
        await Admission(2, 9).places(3).__aenter__()


@pytest.mark.parametrize("admitted", [False, True])
async def test_cancelled_while_waiting(admitted: bool) -> None:
    """A cancelled request leaves the queue, or releases the place that it has just got; the next
    one goes on.
    """
    admission = Admission(1, 9)
    first = admission.places(1)
    await first.__aenter__()
    second, third = Holder(admission), Holder(admission)
    await settle()
    if admitted:
        await first.__aexit__(None, None, None)  # admits the second, which has not run since
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    if not admitted:
        await first.__aexit__(None, None, None)

    await asyncio.wait_for(third.entered.wait(), 60)
    await third.let_go()
    assert admission._free == 1


def deltas(count: int) -> list[Event]:
    """Return a number of events."""
    return [Delta(0, 1, str(number)) for number in range(count)]


async def test_bridge_hands_over_in_order() -> None:
    """What a thread writes is read in order, and the end after it."""
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
    """A writer's error is raised after all that was written before it."""
    bridge = Bridge(2, 8)
    bridge.put(deltas(2))
    bridge.end(EngineError("first"))

    assert await bridge.take() == deltas(2)
    with pytest.raises(EngineError, match="first"):
        await bridge.take()


async def test_bridge_waits_for_all_writers() -> None:
    """The end is read when every writer has ended."""
    bridge = Bridge(2, 8)
    bridge.end()
    taking = asyncio.create_task(bridge.take())
    await settle()
    assert not taking.done()

    bridge.end()
    assert await taking == []


async def test_bridge_full() -> None:
    """A writer waits while the buffer is full, goes on when it is read, and learns when the reader
    has left.
    """
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
