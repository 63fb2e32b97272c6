"""Alarms."""

from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch

from infra.constructs.alarms import add_alarm, add_math_alarm
from tests.support.synthesis import new_app


@pytest.mark.parametrize(
    ("below", "comparison", "missing"),
    [
        (False, "GreaterThanOrEqualToThreshold", "notBreaching"),
        (True, "LessThanThreshold", "missing"),
    ],
)
def test_an_alarm_watches_one_side_of_a_threshold(
    tmp_path: Path, below: bool, comparison: str, missing: str
) -> None:
    """An alarm rises at the threshold or above. With `below` it rises below the threshold.

    Then it also acts when data stop coming. It does not rise before the first data: an alarm begins
    with insufficient data, and acts only when its state changes.
    """
    app = new_app(tmp_path)
    metric = cloudwatch.Metric(
        namespace="N",
        metric_name="M",
        dimensions_map={"D": "v"},
        statistic="Sum",
        period=Duration.minutes(5),
    )
    stack = Stack(app, "S")
    add_alarm(
        stack,
        "A",
        description="d",
        metric=metric,
        threshold=2,
        actions=["arn:topic"],
        periods=3,
        below=below,
    )
    template: dict[str, Any] = app.synth().get_stack_by_name("S").template
    assert template["Resources"]["A"]["Properties"] == {
        "AlarmActions": ["arn:topic"],
        "AlarmDescription": "d",
        "ComparisonOperator": comparison,
        "Dimensions": [{"Name": "D", "Value": "v"}],
        "EvaluationPeriods": 3,
        "MetricName": "M",
        "Namespace": "N",
        "Period": 300,
        "Statistic": "Sum",
        "Threshold": 2,
        "TreatMissingData": missing,
        **({"InsufficientDataActions": ["arn:topic"]} if below else {}),
    }


def test_an_alarm_over_math_returns_one_expression(tmp_path: Path) -> None:
    """Metrics of an expression return no data themselves. Without data it does not breach."""
    app = new_app(tmp_path)
    metric = cloudwatch.Metric(
        namespace="N",
        metric_name="M",
        dimensions_map={"D": "v"},
        statistic="p95",
        period=Duration.minutes(1),
    )
    add_math_alarm(
        Stack(app, "S"),
        "A",
        description="d",
        expression="IF(m > 1, m, 0)",
        metrics={"m": metric},
        threshold=2,
        actions=[],
        periods=5,
        needed=3,
        below=True,
    )
    template: dict[str, Any] = app.synth().get_stack_by_name("S").template
    stat = {
        "Metric": {
            "Dimensions": [{"Name": "D", "Value": "v"}],
            "MetricName": "M",
            "Namespace": "N",
        },
        "Period": 60,
        "Stat": "p95",
    }
    assert template["Resources"]["A"]["Properties"] == {
        "AlarmDescription": "d",
        "ComparisonOperator": "LessThanThreshold",
        "DatapointsToAlarm": 3,
        "EvaluationPeriods": 5,
        "Metrics": [
            {"Expression": "IF(m > 1, m, 0)", "Id": "e", "ReturnData": True},
            {"Id": "m", "MetricStat": stat, "ReturnData": False},
        ],
        "Threshold": 2,
        "TreatMissingData": "notBreaching",
    }
