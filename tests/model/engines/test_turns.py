"""Turns of callers to prepare a grammar."""

from __future__ import annotations

import asyncio

import pytest

from model.engines.turns import FREE_SECONDS, MOST_AHEAD, SHARE, Turns
from model.errors import OverloadedError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of the time and of the sleeps after it, in order. A sleep takes no time."""
    times = [0.0]

    async def sleep(seconds: float) -> None:
        times.append(seconds)

    monkeypatch.setattr("model.engines.turns._now", lambda: times[0])
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return times


async def test_share(clock: list[float]) -> None:
    """A caller gets a tenth of the time, and its waits are bounded. Others are not delayed."""
    turns = Turns()
    seconds = FREE_SECONDS + 0.05
    await turns.take("a", seconds, 2)
    await turns.take("a", seconds, 2)
    await turns.take("a", seconds, 2)
    with pytest.raises(OverloadedError):
        await turns.take("a", seconds, 2)
    with pytest.raises(OverloadedError):
        turns.check("a")
    await turns.take("b", seconds, 2)
    assert clock[1:] == pytest.approx([0.0, 2 * 0.05 * SHARE, 4 * 0.05 * SHARE, 0.0])

    clock[0] = 3 * MOST_AHEAD
    await turns.take("a", seconds, 1)
    assert clock[-1] == 0.0


async def test_cheap(clock: list[float]) -> None:
    """A preparation that takes no longer than a step may take is free."""
    turns = Turns()
    for _ in range(1000):
        await turns.take("a", FREE_SECONDS, 8)
    assert set(clock[1:]) == {0.0}


async def test_forgets(clock: list[float]) -> None:
    """Any number of callers takes a bounded amount of memory."""
    turns = Turns()
    for number in range(5000):
        await turns.take(str(number), 1.0, 1)
    assert len(turns._free_at) == 4096
