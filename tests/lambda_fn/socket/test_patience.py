"""The patience with a client that takes nothing: each send has the whole of it."""

import asyncio

import pytest

from lambda_fn import limits
from lambda_fn.socket.patience import Patience

LONG = limits.SOCKET_PATIENCE


class Clock:
    """A clock and timers of the test's own, in place of the event loop's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = 1000.0
        self.timers: list[tuple[float, object]] = []
        self.started = 0
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_later", lambda wait, look: self._at(self.now + wait, look))
        monkeypatch.setattr(loop, "call_at", self._at)

    def _at(self, when: float, look: object) -> "Clock":
        self.started += 1
        self.timers.append((when, look))
        return self

    def cancel(self) -> None:
        """Cancel the timer, which is the only one."""
        self.timers.clear()

    def pass_(self, seconds: float) -> None:
        """Move the time on, and call what is due."""
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, look in due:
            look()  # type: ignore[operator]


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the loop's clock."""
    return Clock(monkeypatch)


async def sending(patience: Patience, taken: asyncio.Event) -> str:
    """Send, and return how that ended."""
    try:
        with patience:
            await taken.wait()
    except TimeoutError:
        task = asyncio.current_task()
        assert task is not None
        return f"late, cancelled {task.cancelling()} times"
    return "taken"


async def begun(patience: Patience, taken: asyncio.Event) -> "asyncio.Task[str]":
    """Begin to send."""
    task = asyncio.ensure_future(sending(patience, taken))
    await asyncio.sleep(0)
    return task


async def test_a_send_that_takes_too_long(clock: Clock) -> None:
    """It ends with TimeoutError when its time is over, and its task is not cancelled."""
    patience = Patience()
    task = await begun(patience, asyncio.Event())
    clock.pass_(LONG - 0.001)
    await asyncio.sleep(0)
    assert not task.done()
    clock.pass_(0.001)
    assert await task == "late, cancelled 0 times"
    assert clock.timers == []


async def test_each_send_has_the_whole_time(clock: Clock) -> None:
    """A send that begins shortly before the timer is not ended by it."""
    patience, taken = Patience(), asyncio.Event()
    first = await begun(patience, taken)
    taken.set()
    assert await first == "taken"
    clock.pass_(LONG - 1)
    task = await begun(patience, asyncio.Event())
    clock.pass_(LONG - 1)
    await asyncio.sleep(0)
    assert not task.done()
    clock.pass_(1)
    assert await task == "late, cancelled 0 times"


async def test_many_sends_have_one_timer(clock: Clock) -> None:
    """Sends do not start timers of their own, and none runs when nothing is sent for long."""
    patience, taken = Patience(), asyncio.Event()
    taken.set()
    for _ in range(100):
        assert await sending(patience, taken) == "taken"
    assert clock.started == 1
    clock.pass_(LONG)
    assert clock.timers == []
    await begun(patience, asyncio.Event())
    assert clock.started == 2
    patience.close()
    assert clock.timers == []


@pytest.mark.parametrize("when", ["before", "with it"])
async def test_a_task_that_is_cancelled(clock: Clock, when: str) -> None:
    """A cancel from elsewhere stays a cancel, also in the moment in which the time is over."""
    patience = Patience()
    task = await begun(patience, asyncio.Event())
    if when == "with it":
        clock.pass_(LONG)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clock.pass_(2 * LONG)
    assert clock.timers == []


async def test_an_error_of_the_send(clock: Clock) -> None:
    """The server's own error comes through."""
    patience = Patience()
    with pytest.raises(OSError, match="gone"), patience:
        raise OSError("gone")
    clock.pass_(2 * LONG)
    assert clock.timers == []
