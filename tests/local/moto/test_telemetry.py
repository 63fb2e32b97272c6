"""Log lines in the embedded metric format."""

import json
from datetime import UTC, datetime

import pytest
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.logs.models import logs_backends

from local.moto import telemetry
from local.moto.telemetry import metrics


@pytest.mark.parametrize(
    "line",
    [
        "plain",
        "{}",
        '{"_aws": 1}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Metrics": [{"Name": "x"}]}]}}',
    ],
)
def test_lines_that_are_no_metrics(line: str) -> None:
    """A line that is not in the embedded metric format, or lacks a value, makes no metric."""
    assert metrics(line) == []


def test_metrics_have_the_time_and_the_dimensions_of_their_line() -> None:
    """A metric has the line's time, and is one for each set of dimensions of its directive."""
    line = {
        "_aws": {
            "Timestamp": 1_790_000_000_500,
            "CloudWatchMetrics": [
                {
                    "Namespace": "N",
                    "Metrics": [{"Name": "x", "Unit": "Count"}],
                    "Dimensions": [["D"], ["D", "E"]],
                },
                {"Namespace": "N", "Metrics": [{"Name": "y"}], "Dimensions": [["D"]]},
            ],
        },
        "D": "d",
        "E": "e",
        "x": [1, 2],
        "y": 0.5,
    }
    [(namespace, first), (_, second)] = metrics(json.dumps(line))
    assert namespace == "N"
    assert [(it["MetricName"], it["Values"], it["Unit"]) for it in (*first, *second)] == [
        ("x", [1, 2], "Count"),
        ("x", [1, 2], "Count"),
        ("y", [0.5], "None"),
    ]
    assert [len(it["Dimensions"]) for it in (*first, *second)] == [1, 2, 1]
    at = datetime(2026, 9, 21, 14, 13, 20, 500_000, UTC).replace(tzinfo=None)  # as moto has it
    assert {it["Timestamp"] for it in (*first, *second)} == {at}


def test_old_values_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region keeps the newest values, so that a long run does not fill the memory."""
    monkeypatch.setattr(telemetry, "_VALUES", 10)
    backend = cloudwatch_backends[DEFAULT_ACCOUNT_ID]["eu-north-1"]
    for value in range(100):
        data = [{"MetricName": "m", "Value": value, "Dimensions": [], "Unit": "Count"}]
        telemetry.take([{"region": "eu-north-1", "namespace": "N", "data": data}])
    values = [it.value for it in backend.metric_data]
    backend.reset()
    assert 10 <= len(values) <= 11
    assert values[-1] == 99


def test_old_lines_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log group keeps the newest lines of all its streams."""
    monkeypatch.setattr(telemetry, "_EVENTS", 20)
    now = int(datetime.now(UTC).timestamp() * 1000)
    for number in range(100):
        telemetry.take(
            [
                {
                    "region": "eu-north-1",
                    "group": "g",
                    "stream": f"environment {number // 30}",
                    "timestamp": now + number,
                    "message": str(number),
                }
            ]
        )
    backend = logs_backends[DEFAULT_ACCOUNT_ID]["eu-north-1"]
    streams = backend.groups["g"].streams
    kept = [event.message for stream in streams.values() for event in stream.events]
    backend.reset()
    assert 20 <= len(kept) <= 22
    assert kept == [str(number) for number in range(100 - len(kept), 100)]
