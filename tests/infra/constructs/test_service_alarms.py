"""The alarms of the service. `tests/infra/test_alarms_ring.py` makes each of them ring."""

from pathlib import Path
from typing import Any

import pytest

from cli.lib.cloudwatch_cost import counts
from infra.settings.deployment import of_stage
from tests.support.synthesis import Synthesis, synthesise


def alarms(synthesis: Synthesis) -> dict[str, dict[str, Any]]:
    """Return the properties of the construct's alarms, by their names in it."""
    return {
        name.removeprefix("Alarms")[:-8]: it["Properties"]
        for name, it in synthesis.service["Resources"].items()
        if it["Type"].endswith("Alarm") and name.startswith("Alarms")
    }


@pytest.fixture(scope="module")
def without(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return the synthesis of a deployment without the functions' metrics."""
    out = tmp_path_factory.mktemp("without")
    return synthesise("dev", project, out, metrics=False, dashboard=False)


def test_without_metrics_lambda_s_own_are_watched(without: Synthesis) -> None:
    """Without the functions' metrics there are no alarms of them, and no dashboard."""
    assert alarms(without).keys() == {"Throttles", "Concurrency", "RecallThrottles"}
    assert without.resources("AWS::CloudWatch::Dashboard") == []


def test_concurrency_is_watched_by_what_is_reserved(syntheses: dict[str, Synthesis]) -> None:
    """The ceiling is the reserved concurrency, or Lambda's default quota of an account."""
    assert alarms(syntheses["dev"])["Concurrency"]["Threshold"] == 800
    near = alarms(syntheses["prod"])["Concurrency"]
    assert (near["Threshold"], near["DatapointsToAlarm"], near["EvaluationPeriods"]) == (160, 3, 5)


def test_math_is_within_cloudwatch_s_limits(synthesis: Synthesis) -> None:
    """An expression has at most ten metrics of one period, and alone returns data."""
    for properties in alarms(synthesis).values():
        queries = properties.get("Metrics", [])
        stats = [query["MetricStat"] for query in queries if "MetricStat" in query]
        assert len(stats) <= 10
        assert len({stat["Period"] for stat in stats}) <= 1
        assert [query["Id"] for query in queries if query["ReturnData"]] == ["e"] * bool(queries)


def test_a_window_is_at_most_a_day(synthesis: Synthesis) -> None:
    """An alarm looks back a day at most, if its period is under an hour, else a week."""
    for properties in alarms(synthesis).values():
        periods = {
            query["MetricStat"]["Period"]
            for query in properties.get("Metrics", [])
            if "MetricStat" in query
        }
        for period in periods | ({properties["Period"]} if "Period" in properties else set()):
            longest = 86_400 if period < 3600 else 7 * 86_400
            assert period * properties["EvaluationPeriods"] <= longest


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_bill_counts_what_is_made(stage: str, syntheses: dict[str, Synthesis]) -> None:
    """`sluice cost` counts the alarms and dashboards that the templates have."""
    synthesis = syntheses[stage]
    metrics = sum(
        sum("MetricStat" in query for query in it["Properties"].get("Metrics", [])) or 1
        for it in synthesis.resources("AWS::CloudWatch::Alarm")
    )
    found = counts(of_stage(stage))
    assert (found.alarm_metrics, found.composite_alarms, found.dashboards) == (
        metrics,
        len(synthesis.resources("AWS::CloudWatch::CompositeAlarm")),
        len(synthesis.resources("AWS::CloudWatch::Dashboard")),
    )
