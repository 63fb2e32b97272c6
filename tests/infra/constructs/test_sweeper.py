"""The sweeper."""

from typing import Any

from tests.support.synthesis import FUNCTIONS


def test_the_sweeper_runs_on_a_schedule_that_nothing_piles_up_on(synthesis: Any) -> None:
    """The sweeper runs every five minutes, and ends before the next run.

    A failed run is not retried.
    """
    rule = synthesis.the("AWS::Events::Rule", "Sweeper")
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(5 minutes)", "ENABLED")
    (target,) = rule["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 300, "MaximumRetryAttempts": 0}
    invoke = synthesis.the("AWS::Lambda::EventInvokeConfig", "Sweeper")
    assert (invoke["MaximumRetryAttempts"], invoke["MaximumEventAgeInSeconds"]) == (0, 300)
    assert synthesis.function(FUNCTIONS["Sweeper"])["Timeout"] < 300


def test_alarms_tell_of_recovered_requests_and_of_sweeps_that_fail_or_stay_away(
    synthesis: Any,
) -> None:
    """There are three alarms. One acts if no sweep ran for a quarter of an hour."""
    alarms = {
        it["Properties"]["MetricName"]: it["Properties"]
        for name, it in synthesis.service["Resources"].items()
        if it["Type"] == "AWS::CloudWatch::Alarm" and name.startswith("Sweeper")
    }
    assert alarms.keys() == {"Recovered", "Errors", "Invocations"}
    deployment = synthesis.function(FUNCTIONS["Sweeper"])["Environment"]["Variables"][
        "SLUICE_DEPLOYMENT"
    ]
    assert alarms["Recovered"]["Namespace"] == "Sluice"
    assert alarms["Recovered"]["Dimensions"] == [{"Name": "Deployment", "Value": deployment}]
    silent = alarms["Invocations"]
    assert (silent["Period"], silent["TreatMissingData"]) == (900, "missing")
    assert silent["ComparisonOperator"] == "LessThanThreshold"
    assert not [it for it in alarms.values() if "AlarmActions" in it]


def metrics_right(synthesis: Any) -> list[Any]:
    """Return the sweeper's statements on CloudWatch's metrics."""
    policy = synthesis.the("AWS::IAM::Policy", "Sweeper")["PolicyDocument"]["Statement"]
    return [it for it in policy if "cloudwatch" in str(it["Action"])]


def test_figures_of_keys_are_sent_only_if_asked_for(synthesis: Any, everything: Any) -> None:
    """The variable and the right are there with `key_figures=otlp` alone."""
    variables = synthesis.function(FUNCTIONS["Sweeper"])["Environment"]["Variables"]
    assert "SLUICE_KEY_METRICS" not in variables
    assert metrics_right(synthesis) == []
    variables = everything.function(FUNCTIONS["Sweeper"])["Environment"]["Variables"]
    assert variables["SLUICE_KEY_METRICS"] == "true"
    [right] = metrics_right(everything)
    assert (right["Action"], right["Resource"]) == ("cloudwatch:PutMetricData", "*")
    assert everything.resources("AWS::CloudWatch::InsightRule") == []
