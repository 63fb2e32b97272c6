"""A run in AIPerf's form."""

import json

import pytest

from cli.commands.load.aiperf import export
from tests.support.load_runs import every_ending, record, report_of, run_of


def test_metrics_of_requests_have_all_their_figures() -> None:
    """A metric with one value for each request has the fields of AIPerf's schema."""
    records = [record(at, first=100.0 + at + (at + 1) / 10) for at in range(5)]
    run = run_of(records)
    found = export(run, report_of(run), 3)["time_to_first_token"]
    assert found == pytest.approx(
        {
            "unit": "ms", "avg": 300, "min": 100, "max": 500, "p1": 104, "p5": 120, "p10": 140,
            "p25": 200, "p50": 300, "p75": 400, "p90": 460, "p95": 480, "p99": 496,
            "std": 158.11388, "count": 5, "sum": 1500,
        }
    )  # fmt: skip


def test_sums_are_one_value() -> None:
    """Rates and counts have a unit and one value, and only complete requests count."""
    run = every_ending()
    found = export(run, report_of(run), 3)
    assert found["request_count"] == {"unit": "requests", "avg": 1}
    assert found["error_request_count"] == {"unit": "requests", "avg": len(run.records) - 1}
    assert found["output_token_throughput"]["avg"] == pytest.approx(5 / 12)
    assert sum(it["count"] for it in found["error_summary"]) == len(run.records) - 1


def test_a_run_without_complete_requests_has_no_latencies() -> None:
    """Metrics without a value are left out, as AIPerf does; the rest can be written."""
    run = run_of([record(0, "cut")])
    found = export(run, report_of(run), 3)
    json.dumps(found, allow_nan=False)
    assert "time_to_first_token" not in found
    assert found["schema_version"] == "1.4"
