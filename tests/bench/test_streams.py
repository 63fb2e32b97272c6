"""The benchmark of logged responses: what its figures mean, and that its parts meet."""

import asyncio
from pathlib import Path

import pytest

from bench import streams
from bench.adapter.rows import Scenario
from bench.adapter.streams import Recording


def recorded(times: list[float], *, sent_at: float = 0.0) -> Recording:
    """Return a recording of one token at each time. The last piece is the end."""
    pieces = [b'data: " w%05d"\n' % number for number in range(len(times) - 1)]
    recording = Recording(len(times) - 1, sent_at, raw=False, over=True)
    recording.pieces = list(zip(times, [*pieces, b"data: [DONE]\n\n"], strict=True))
    return recording


def test_the_lag_is_that_of_tokens_that_came_while_it_was_read() -> None:
    """What was logged before the tail came tells nothing of the lag."""
    live = recorded([1.0, 2.0, 3.0, 4.0])
    tail = recorded([2.5, 2.5, 3.5, 4.5], sent_at=1.5)
    assert streams.lags_of(live, tail) == pytest.approx([500, 500])


def test_the_end_is_measured_from_the_last_token() -> None:
    """A response that is incomplete has none."""
    assert streams.end_of(recorded([1.0, 2.0, 2.25])) == pytest.approx(250)
    cut = recorded([1.0, 2.0, 2.25])
    cut.over = False
    assert streams.end_of(cut) == float("inf")


async def test_tails_and_replays_have_the_bytes_of_the_live_client(tmp_path: Path) -> None:
    """Both functions of the package run over one table, and every reader gets the whole answer."""
    scenario = Scenario(rate=100, streams=2, tokens=50)
    async with asyncio.timeout(120):
        rows = await streams.measure_reading(tmp_path, scenario, rounds=1, replays=3, tokens=700)
    assert rows.keys() == {"tail", "replay", "replays"}
    assert all(row["complete"] for row in rows.values())
    assert rows["replay"]["tokens_per_s"] > 0
