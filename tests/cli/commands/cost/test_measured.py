"""Figures of a load test or a benchmark in the cost sheet."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.commands.cost import measured
from cli.commands.cost.measured import read
from cli.lib.project import UsageError
from tests.support.pipes import sending

REPORT: dict[str, Any] = {
    "object": "load_report",
    "tokens": {"per_second": 900.0},
    "ttft": {"mean": 250.0},
    "itl": {"mean": 20.0},
    "client": {"bottleneck": []},
}
ROW = {"what": "server", "tokens_s": 90, "streams": 2, "ttft_p50_ms": 100}


def write(folder: Path, content: object) -> Path:
    """Write a report, and return its path."""
    path = folder / "report.json"
    path.write_text(json.dumps(content))
    return path


def test_a_load_report_has_throughput_pace_and_first_token(tmp_path: Path) -> None:
    """Milliseconds become seconds, and a gap between tokens becomes a pace."""
    found = read(write(tmp_path, REPORT))
    assert (found.throughput, found.tokens_per_second, found.first_token) == (900.0, 50.0, 0.25)
    assert "full load" in str(found.caution)
    slow = read(write(tmp_path, {**REPORT, "client": {"bottleneck": ["its loop lagged"]}}))
    assert "its loop lagged" in str(slow.caution)
    assert read(write(tmp_path, {**REPORT, "itl": None, "ttft": None})).first_token is None


def test_the_models_benchmark_has_its_best_row() -> None:
    """The committed results of `bench.model` are read: the server's row of most tokens."""
    path = Path(__file__).parents[4] / "bench" / "results" / "model.json"
    rows = [row for row in json.loads(path.read_text())["rows"] if row["what"] == "server"]
    found = read(path)
    assert found.throughput == max(row["tokens_s"] for row in rows)
    assert found.tokens_per_second is not None
    assert found.tokens_per_second < found.throughput


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "neither a report"),
        ([], "neither a report"),
        ({"object": "load_report"}, "neither a report"),
        ({"rows": [{"what": "engine"}]}, "neither a report"),
        ({**REPORT, "tokens": {"per_second": 0.0}}, "no throughput"),
        ({**REPORT, "tokens": {"per_second": float("nan")}}, "neither a report"),
        ({**REPORT, "tokens": {"per_second": float("inf")}}, "neither a report"),
        ({**REPORT, "itl": {"mean": float("nan")}}, "neither a report"),
        ({**REPORT, "itl": {"mean": -1.0}}, "neither a report"),
        ({**REPORT, "ttft": {"mean": 10**400}}, "neither a report"),
        ({"rows": [{**ROW, "streams": 0}]}, "neither a report"),
        ({"rows": [{**ROW, "streams": float("inf")}]}, "neither a report"),
        ({"rows": [{**ROW, "tokens_s": 0}]}, "neither a report"),
    ],
)
def test_another_file_is_told(tmp_path: Path, content: object, message: str) -> None:
    """The message says what is wrong with a file that is no report."""
    with pytest.raises(UsageError, match=message):
        read(write(tmp_path, content))
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.json")


def test_lists_within_lists(tmp_path: Path) -> None:
    """A file that is nested too deeply is no report."""
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(UsageError, match="is neither a report"):
        read(path)


def test_a_file_without_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may have no end, so it is read up to the limit."""
    monkeypatch.setattr(measured, "_LARGEST", 10)
    with sending(tmp_path / "pipe", b"[" * 100) as path, pytest.raises(UsageError, match="is over"):
        read(path)
