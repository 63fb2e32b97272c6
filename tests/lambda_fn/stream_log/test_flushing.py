"""When the logs of an environment are written: together, never late, and few in one turn."""

import asyncio
from collections.abc import Callable

import pytest

from lambda_fn import limits
from lambda_fn.stream_log import flushing
from lambda_fn.stream_log.flushing import Flushes


class Log:
    """A log that notes when it is written."""

    def __init__(self, note: Callable[["Log"], None]) -> None:
        """Call `note` at each write."""
        self._note = note

    def flush(self) -> None:
        """Note a write."""
        self._note(self)


class Clock:
    """The loop's time, which stands still, and its one timer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the running loop's timers."""
        loop = asyncio.get_running_loop()
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None], asyncio.TimerHandle]] = []
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_at", self._call_at)

    def _call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, call, (), asyncio.get_running_loop())
        self.timers.append((when, call, handle))
        return handle

    @property
    def next(self) -> float | None:
        """When the next timer fires, None if there is none."""
        self.timers = [timer for timer in self.timers if not timer[2].cancelled()]
        return min((when for when, _, _ in self.timers), default=None)

    def ring(self) -> None:
        """Go to the next timer, and fire it."""
        assert self.next is not None
        timer = min(self.timers, key=lambda timer: timer[0])
        self.timers.remove(timer)
        self.now = max(self.now, timer[0])
        timer[1]()


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of this test."""
    return Clock(monkeypatch)


async def test_logs_that_are_due_soon_are_written_together(clock: Clock) -> None:
    """A log is written with an earlier one if it is due within `LOG_FLUSH_EARLY`, else later."""
    written: list[Log] = []
    flushes, (one, two, three) = Flushes(), [Log(written.append) for _ in range(3)]
    flushes.set(two, 100.5 + limits.LOG_FLUSH_EARLY)
    flushes.set(one, 100.5)
    flushes.set(three, 101.0)
    assert clock.next == 100.5
    clock.ring()
    assert written == [one, two]
    assert clock.next == 101.0
    clock.ring()
    assert written == [one, two, three]
    assert clock.next is None


async def test_there_is_one_timer_and_none_without_logs(clock: Clock) -> None:
    """An earlier log moves the timer; the last one that is discarded cancels it."""
    flushes, (one, two) = Flushes(), [Log(lambda _: None) for _ in range(2)]
    flushes.set(one, 101.0)
    flushes.set(two, 100.5)
    assert (clock.next, len(clock.timers)) == (100.5, 1)
    flushes.discard(two)
    flushes.discard(two)
    assert clock.next == 100.5
    clock.ring()
    assert clock.next == 101.0
    flushes.discard(one)
    assert clock.next is None


async def test_few_are_written_in_one_turn(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that are due, the next turn of the loop writes the rest, the earliest first."""
    monkeypatch.setattr(flushing, "_MOST", 2)
    written: list[Log] = []
    flushes, logs = Flushes(), [Log(written.append) for _ in range(5)]
    for place, log in enumerate(logs):
        flushes.set(log, 100.5 - place / 1000)
    clock.now = 100.5
    for _ in range(3):
        clock.ring()
    assert written == logs[::-1]
    assert clock.next is None
    assert clock.now == 100.5


async def test_a_log_that_is_written_may_be_due_again(clock: Clock) -> None:
    """A log may set its next write while it is written, and discard itself."""
    flushes, written = Flushes(), list[float]()

    def again(log: Log) -> None:
        written.append(clock.now)
        flushes.discard(log)
        if len(written) < 3:
            flushes.set(log, clock.now + 0.5)

    flushes.set(Log(again), 100.5)
    for _ in range(3):
        clock.ring()
    assert written == [100.5, 101.0, 101.5]
    assert clock.next is None
