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


def test_the_first_token_is_compared_with_the_noise() -> None:
    """The median with a log may be as late as a quarter of the responses without one."""
    without = [1.0, 2.0, 3.0, 4.0, 5.0]
    row = streams.spread(without, [4.0] * 5)
    assert row["off_ms_quartiles"] == [1.5, 3.0, 4.5]
    assert (row["within_noise"], row["complete"]) == (True, True)
    assert not streams.spread(without, [4.6] * 5)["within_noise"]
    assert "within_noise" not in streams.spread(without, [4.6] * 5, judged=False)
    cut = recorded([1.0, 2.0, 2.25])
    assert streams.first_of(cut) == pytest.approx(1000)
    cut.over = False
    assert not streams.spread(without, [streams.first_of(cut)] * 5)["complete"]


async def test_a_slow_table_delays_the_first_token(tmp_path: Path) -> None:
    """The model is asked when it has answered, and answers after its own time."""
    async with asyncio.timeout(120):
        rows = await streams.measure_first(tmp_path, streams=2, rounds=1, table=20, model=10)
    assert list(rows) == [f"first token of {count}, table 20 ms, model 10 ms" for count in (1, 2)]
    for row in rows.values():
        assert row["complete"]
        assert min(row["off_ms_quartiles"][0], row["on_ms_quartiles"][0]) >= 30


async def test_tails_and_replays_have_the_bytes_of_the_live_client(tmp_path: Path) -> None:
    """Both functions of the package run over one table, and every reader gets the whole answer."""
    scenario = Scenario(rate=100, streams=2, tokens=50)
    async with asyncio.timeout(120):
        rows = await streams.measure_reading(tmp_path, scenario, rounds=1, replays=3, tokens=700)
    assert rows.keys() == {"tail", "replay", "replays"}
    assert all(row["complete"] for row in rows.values())
    assert rows["replay"]["tokens_per_s"] > 0
