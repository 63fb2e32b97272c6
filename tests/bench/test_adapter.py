"""The benchmark's own parts. A figure is worthless if a stand-in is wrong."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import memory
from bench.adapter import plans, processes, servers
from bench.adapter.frames import answer, numbers
from bench.adapter.rows import Row, Sample, Scenario, sample
from bench.adapter.streams import Recording, percentile, read
from bench.adapter.targets import verdicts

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("server", ["direct", "relay", "sluice-uvicorn", "sluice"])
async def test_a_server_gives_every_token(server: str, tmp_path: Path) -> None:
    """Each of our servers starts on the stand-ins and returns whole answers.

    A chunk has one token, or several in merged records.
    """
    setting, stand_ins = servers.stand_ins(tmp_path)
    started = None
    try:
        started = await servers.start(server, setting, 2)
        for merged in (False, True) if server.startswith("sluice") else (False,):
            times = await sample(
                started,
                Scenario(rate=0, streams=2, tokens=30, requests=2, merged=merged),
                seconds=20,
            )
            assert times.complete
            assert times.cpu > 0 or server == "direct"
    finally:
        if started is not None:
            started.stop()
        processes.stop(stand_ins)


async def test_a_reader_that_does_not_read_costs_little(tmp_path: Path) -> None:
    """Streams that are not read hold a small part of what the model would send them.

    Resident memory counts what the allocator keeps, too: 60 to 270 kB a stream between equal runs.
    """
    result = await memory.measure(tmp_path, streams=320, slow=24)
    assert 0 < result["slow_reader_kb"] < memory.LONG_KB / 10


@given(cuts=st.lists(st.integers(0, 4000), max_size=8), tokens=st.integers(1, 20))
def test_reading_finds_every_token_however_cut(cuts: list[int], tokens: int) -> None:
    """All tokens of a recording are read, however its bytes are cut.

    A recording that lacks a token or its end is incomplete.
    """
    parts, ending = answer("lines", tokens)
    data = HEAD + b"".join(parts) + ending
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    def seen(pieces: list[bytes]) -> bool:
        recording = Recording(
            tokens, 0.0, raw=True, pieces=[(1.0, piece) for piece in pieces if piece], over=True
        )
        return read(recording).complete

    assert seen([data[start:end] for start, end in pairwise(edges)])
    assert not seen([HEAD, *parts[1:], ending])
    assert not seen([HEAD, *parts])


def test_merged_records_hold_the_same_tokens() -> None:
    """Records of four tokens have the same tokens as records of one."""
    parts, _ = answer("merged", 10)
    assert numbers(b"".join(parts), merged=True) == list(range(10))
    assert len(parts) == 3


def row(server: str, cpu: float, mode: Any = "flat", streams: int = 8) -> dict[str, Any]:
    """Return a row of results."""
    plain = {
        "merged": False,
        "complete": True,
        "over_capacity": False,
        "itl_ms_p50": 20.0,
        "itl_ms_p99": 30.0,
    }
    return {"server": server, "mode": mode, "streams": streams, "cpu_us_per_token": cpu, **plain}


def test_targets_are_judged_by_the_rows() -> None:
    """A ratio within its bound is met, and one outside is not. Without its rows it is not run."""
    by_target = {
        verdict.name: verdict.met
        for verdict in verdicts([row("sluice", 10), row("fastapi-boto3", 130), row("relay", 2)])
    }
    judged = [met for name, met in by_target.items() if "8 streams flat out" in name]
    assert judged == [True, None, False]


@pytest.mark.parametrize("plan", [plans.QUICK, plans.PACED, plans.full()])
def test_each_row_has_a_name_of_its_own(plan: tuple[Scenario, ...]) -> None:
    """No two rows of a run have one name, and merged records are named."""
    rows = [Row(server, scenario) for scenario in plan for server in scenario.servers]
    names = [f"{row.server}: {row.scenario.name}" for row in rows]
    assert len(set(names)) == len(names)
    assert all(row.scenario.merged == ("merged" in row.scenario.name) for row in rows)


def test_percentiles_and_rows() -> None:
    """A percentile is one of the values. A paced row below its rate is over capacity."""
    assert [percentile([3.0, 1.0, 2.0], percent) for percent in (1, 50, 99)] == [1.0, 2.0, 3.0]
    scenario = Scenario(rate=50, streams=2, tokens=10)

    async def rows() -> list[dict[str, Any]]:
        rows_ = []
        for rate in (99.0, 60.0):
            row_ = Row("x", scenario)
            row_.samples.append(_sample(rate))
            rows_.append(row_.as_json(row_))
        return rows_

    fast, slow = asyncio.run(rows())
    assert (fast["over_capacity"], slow["over_capacity"]) == (False, True)
    assert fast["ttft_added_ms_p50"] == 0
    assert fast["row"] == "x: 2 streams, 50 tokens/s, 10 tokens"


def _sample(rate: float) -> Any:

    return Sample(1.0, 2.0, 3.0, 20.0, 21.0, rate, 30.0, complete=True)
