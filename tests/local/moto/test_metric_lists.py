"""Metrics are listed once each, however many values they have."""

from typing import Any

import pytest
from moto.cloudwatch.models import CloudWatchBackend, Dimension

from local.moto import metric_lists

VALUES = 20_000


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> CloudWatchBackend:
    """Return a backend with many values of four metrics."""
    monkeypatch.setattr(
        CloudWatchBackend, "get_filtered_metrics", CloudWatchBackend.get_filtered_metrics
    )
    metric_lists.install()
    found = CloudWatchBackend("us-east-1", "123456789012")
    one, two = [{"Name": "F", "Value": "f"}], [{"Name": "F", "Value": "g"}]
    for dimensions in (one, two, [*one, {"Name": "R", "Value": "r"}], []):
        data = [{"MetricName": "M", "Value": 1, "Dimensions": dimensions}] * (VALUES // 4)
        found.put_metric_data("N", data)
    return found


def test_each_metric_is_listed_once(
    backend: CloudWatchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of comparisons grows with the values, not with their square."""
    compared = 0
    equal = Dimension.__eq__

    def counted(self: Dimension, other: Any) -> bool:
        nonlocal compared
        compared += 1
        return bool(equal(self, other))

    monkeypatch.setattr(Dimension, "__eq__", counted)
    assert len(backend.get_filtered_metrics("M", "N", [])) == 4
    assert len(backend.get_filtered_metrics("M", "N", [{"Name": "F", "Value": "f"}])) == 2
    assert len(backend.get_filtered_metrics("M", "N", [{"Name": "R"}])) == 1
    assert backend.get_filtered_metrics("M", "other", []) == []
    assert compared <= 8 * VALUES
