"""The figures of a window, from log lines."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.top import window as module
from cli.commands.top.window import Ended, Window, parse, percentiles
from lambda_fn.metering.ledger import Settlement
from lambda_fn.stream.metrics import CAUSES, UNITS

LINE = {
    "event": "request", "request_id": "r", "key": "k", "model": "m", "outcome": "complete",
    "prompt_tokens": 2, "completion_tokens": 5, "finish_reason": "stop", "ttft_ms": 100,
    "duration_ms": 500, "cost": 7,
}  # fmt: skip


def ended(number: int, at: float, **fields: Any) -> Ended:
    """Return a request that ended."""
    found = parse(json.dumps({**LINE, "request_id": f"r{number}", **fields}), at)
    assert found is not None
    return found


def test_a_line_of_the_function() -> None:
    """A settlement's line has what the figures need, under the names of the settlement."""
    names = {"outcome", "prompt_tokens", "completion_tokens", "ttft_ms", "duration_ms"}
    assert names <= set(Settlement.__struct_fields__)
    found = ended(1, 5.0)
    assert (found.at, found.itl_ms, found.cost) == (5.0, 100.0, 7)


def test_the_metrics_of_a_line() -> None:
    """A line with metrics has its cause and its percentile; durations there are seconds."""
    names = {f"Ended{it}": it for it in CAUSES}
    assert UNITS["InterTokenP95"] == "Seconds"
    for name, cause in names.items():
        found = ended(1, 0, **{name: 1, "InterTokenP95": 0.05})
        assert (found.cause, found.itl_p95_ms) == (cause, 50)
    window = Window(60)
    window.add([ended(1, 1.0, EndedUpstream=1, InterTokenP95=0.05), ended(2, 1.0)])
    figures = window.figures(2.0)
    assert figures["causes"] == {"Upstream": 1}
    assert figures["itl_p95_ms"]["max"] == 50


@pytest.mark.parametrize(
    "line",
    [
        "START RequestId: x",
        "{}",
        "[1]",
        "[" * 100_000,
        json.dumps({**LINE, "event": "upstream"}),
        json.dumps({name: value for name, value in LINE.items() if name != "cost"}),
        json.dumps({**LINE, "prompt_tokens": "many"}),
    ],
)
def test_other_lines_are_none(line: str) -> None:
    """What is no line of a settlement is left out."""
    assert parse(line, 0) is None


@pytest.mark.parametrize(
    "fields", [{"ttft_ms": None}, {"completion_tokens": 1}, {"duration_ms": None}]
)
def test_without_two_tokens_there_is_no_time_between_them(fields: dict[str, Any]) -> None:
    """An answer without two tokens has no time between tokens."""
    assert ended(1, 0, **fields).itl_ms is None


def test_figures() -> None:
    """Requests of the window are counted by outcome, model and key; older ones are forgotten."""
    window = Window(60)
    window.add([ended(0, 10.0), ended(1, 50.0, outcome="cut", key="a", cost=9), ended(2, 99.0)])
    found = window.figures(100.0)
    assert (found["requests"], found["outcomes"]) == (2, {"cut": 1, "complete": 1})
    assert found["tokens_per_second"] == pytest.approx(10 / 60, abs=0.001)
    assert [(row["key"], row["cost"], row["tokens"]) for row in found["keys"]] == [
        ("a", 9, 7), ("k", 7, 7),
    ]  # fmt: skip
    assert sum(found["tokens_over_time"]) == 10
    assert window.figures(1000.0)["requests"] == 0


def test_a_line_that_is_read_twice_counts_once() -> None:
    """Looks overlap, because lines may be late."""
    window = Window(60)
    window.add([ended(1, 1.0)])
    window.add([ended(1, 1.0), ended(2, 1.0)])
    assert window.figures(2.0)["requests"] == 2


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many requests the newest are kept, and the figures say so."""
    monkeypatch.setattr(module, "MAX_LINES", 3)
    window = Window(60)
    window._kept = type(window._kept)(maxlen=3)
    window.add([ended(number, 1.0) for number in range(5)])
    found = window.figures(2.0)
    assert (found["requests"], found["truncated"]) == (3, True)


def test_many_keys_are_not_all_listed() -> None:
    """The five keys with the highest cost are listed, and the others are counted."""
    window = Window(60)
    window.add([ended(it, 1.0, key=f"k{it}", cost=it) for it in range(8)])
    found = window.figures(2.0)
    assert [row["key"] for row in found["keys"]] == ["k7", "k6", "k5", "k4", "k3"]
    assert found["keys_left"] == 3


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_rise(values: list[float]) -> None:
    """Percentiles are values that occurred, and rise to the maximum."""
    found = percentiles(values)
    assert found is not None
    assert list(found.values()) == sorted(found.values())
    assert found["max"] == pytest.approx(max(values), abs=0.001)


def test_no_values_have_no_percentiles() -> None:
    """Without values there are none."""
    assert percentiles([]) is None
