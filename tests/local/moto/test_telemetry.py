"""Log lines in the embedded metric format."""

import pytest

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
