"""Percentiles of metrics, as boto3 reads them from moto."""

import datetime
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws
from moto.cloudwatch.models import Statistics

from local.moto import percentiles


@pytest.fixture(autouse=True)
def _aws() -> Iterator[None]:
    with mock_aws():
        yield


def test_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """GetMetricData has percentiles of a period's values, and all other statistics as before."""
    monkeypatch.setattr(Statistics, "get_statistics_for_type", Statistics.get_statistics_for_type)
    percentiles.install()
    cloudwatch = boto3.client("cloudwatch", region_name="us-east-1")
    now = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0)
    cloudwatch.put_metric_data(
        Namespace="Sluice",
        MetricData=[
            {"MetricName": "m", "Timestamp": now, "Value": float(value)} for value in range(1, 101)
        ],
    )

    def read(stat: str) -> list[float]:
        metric = {"Namespace": "Sluice", "MetricName": "m", "Dimensions": []}
        query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}
        minute = datetime.timedelta(minutes=1)
        answer = cloudwatch.get_metric_data(
            MetricDataQueries=[query], StartTime=now - minute, EndTime=now + minute
        )
        [result] = answer["MetricDataResults"]
        return list(result["Values"])

    assert {stat: read(stat) for stat in ("p50", "p95", "p99.9", "Sum")} == {
        "p50": [50.0],
        "p95": [95.0],
        "p99.9": [100.0],
        "Sum": [5050.0],
    }
