"""Alarms, scaling, schedules and metric filters that templates deploy, read with boto3."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.local_cloud import Client, Stacks


def _follow(
    stacks: Stacks, template: Callable[[int], dict[str, Any]], read: Callable[[str], list[Any]]
) -> list[Any]:
    """Create, update and delete the resources of `template(3)` and `template(4)`.

    Return what `read` returns after each operation. It gets the physical id of the resource `One`.
    """
    stack = stacks.create(template(3), {"One": {"Ref": "One"}})
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    name = stacks.outputs(stack)["One"]
    states = [read(name)]
    stacks.update(stack, template(4), {"One": {"Ref": "One"}})
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    states.append(read(name))
    stacks.delete(stack)
    return [*states, read(name)]


def test_alarms(client: Client, stacks: Stacks) -> None:
    """An alarm is created, changed and deleted."""

    def template(number: int) -> dict[str, Any]:
        metric = {
            "MetricName": "m",
            "Namespace": "n",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
        }
        properties = {**metric, "Threshold": number, "ComparisonOperator": "GreaterThanThreshold"}
        return {"One": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}}

    def read(name: str) -> list[Any]:
        alarms = client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return [alarm["Threshold"] for alarm in alarms]

    assert _follow(stacks, template, read) == [[3.0], [4.0], []]


def _target(service: str, dimension: str, resource: str, **properties: Any) -> dict[str, Any]:
    scaled = {
        "ServiceNamespace": service,
        "ScalableDimension": f"{service}:{dimension}",
        "ResourceId": resource,
    }
    return {
        "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
        "Properties": {**scaled, **properties},
    }


def test_scaling(client: Client, stacks: Stacks) -> None:
    """A scalable target is created, changed and deleted.

    So are its scheduled action and its policy.
    """
    scaling = client("application-autoscaling")

    def template(number: int) -> dict[str, Any]:
        action = {"ScheduledActionName": f"a{number}", "Schedule": "cron(0 1 * * ? *)"}
        tracking = {
            "TargetValue": number,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"
            },
        }
        policy = {
            "PolicyName": "p",
            "PolicyType": "TargetTrackingScaling",
            "ScalingTargetId": {"Ref": "One"},
            "TargetTrackingScalingPolicyConfiguration": tracking,
        }
        bounds = {"MinCapacity": 1, "MaxCapacity": number, "ScheduledActions": [action]}
        return {
            "One": _target("lambda", "function:ProvisionedConcurrency", "function:f:a", **bounds),
            "Policy": {"Type": "AWS::ApplicationAutoScaling::ScalingPolicy", "Properties": policy},
        }

    def read(_: str) -> list[Any]:
        targets = scaling.describe_scalable_targets(ServiceNamespace="lambda")["ScalableTargets"]
        policies = scaling.describe_scaling_policies(ServiceNamespace="lambda")["ScalingPolicies"]
        actions = scaling.describe_scheduled_actions(ServiceNamespace="lambda")["ScheduledActions"]
        return [
            *(target["MaxCapacity"] for target in targets),
            *(
                policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
                for policy in policies
            ),
            *(action["ScheduledActionName"] for action in actions),
        ]

    assert _follow(stacks, template, read) == [[3, 3.0, "a3"], [4, 4.0, "a4"], []]


def test_scaling_of_inference_components(client: Client, stacks: Stacks) -> None:
    """The copies of an inference component may be scaled down to none."""

    def template(number: int) -> dict[str, Any]:
        bounds = {"MinCapacity": 0, "MaxCapacity": number}
        return {
            "One": _target(
                "sagemaker",
                "inference-component:DesiredCopyCount",
                "inference-component/c",
                **bounds,
            ),
        }

    def read(_: str) -> list[Any]:
        targets = client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="sagemaker"
        )
        return [target["MaxCapacity"] for target in targets["ScalableTargets"]]

    assert _follow(stacks, template, read) == [[3], [4], []]


def test_schedules(client: Client, stacks: Stacks) -> None:
    """A schedule is created, changed and deleted."""
    api = client("scheduler")

    def template(number: int) -> dict[str, Any]:
        target = {
            "Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
            "RoleArn": "arn:aws:iam::123456789012:role/r",
        }
        expression = f"rate({number} minutes)"
        properties = {
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ScheduleExpression": expression,
            "Target": target,
        }
        return {"One": {"Type": "AWS::Scheduler::Schedule", "Properties": properties}}

    def read(_: str) -> list[Any]:
        listed = api.list_schedules()["Schedules"]
        return [api.get_schedule(Name=item["Name"])["ScheduleExpression"] for item in listed]

    assert _follow(stacks, template, read) == [["rate(3 minutes)"], ["rate(4 minutes)"], []]


def test_metric_filters(client: Client, stacks: Stacks) -> None:
    """A metric filter of a log group is created, changed and deleted."""

    def template(number: int) -> dict[str, Any]:
        properties = {
            "LogGroupName": {"Ref": "Group"},
            "FilterPattern": f"a{number}",
            "MetricTransformations": [
                {"MetricName": "m", "MetricNamespace": "n", "MetricValue": "1"}
            ],
        }
        return {
            "Group": {"Type": "AWS::Logs::LogGroup"},
            "One": {"Type": "AWS::Logs::MetricFilter", "Properties": properties},
        }

    def read(_: str) -> list[Any]:
        return [
            item["filterPattern"]
            for item in client("logs").describe_metric_filters()["metricFilters"]
        ]

    assert _follow(stacks, template, read) == [["a3"], ["a4"], []]


def test_composite_alarms(client: Client, stacks: Stacks) -> None:
    """A composite alarm is created, changed and deleted. It begins with insufficient data."""

    def template(number: int) -> dict[str, Any]:
        properties = {"AlarmRule": f'ALARM("a{number}")', "AlarmDescription": f"d{number}"}
        return {"One": {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": properties}}

    def read(name: str) -> list[Any]:
        described = client("cloudwatch").describe_alarms(AlarmNames=[name])
        return [(it["AlarmRule"], it["StateValue"]) for it in described["CompositeAlarms"]]

    assert _follow(stacks, template, read) == [
        [('ALARM("a3")', "INSUFFICIENT_DATA")],
        [('ALARM("a4")', "INSUFFICIENT_DATA")],
        [],
    ]


def test_dashboards(client: Client, stacks: Stacks) -> None:
    """A dashboard is created, changed and deleted."""

    def template(number: int) -> dict[str, Any]:
        body = json.dumps({"widgets": [{"type": "text", "properties": {"markdown": f"{number}"}}]})
        properties = {"DashboardName": "board", "DashboardBody": body}
        return {"One": {"Type": "AWS::CloudWatch::Dashboard", "Properties": properties}}

    def read(name: str) -> list[Any]:
        entries = client("cloudwatch").list_dashboards()["DashboardEntries"]
        if not entries:
            return []
        assert [it["DashboardName"] for it in entries] == [name]
        body = json.loads(client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"])
        return [it["properties"]["markdown"] for it in body["widgets"]]

    assert _follow(stacks, template, read) == [["3"], ["4"], []]


def test_rules_of_contributor_insights(client: Client, stacks: Stacks) -> None:
    """A rule is created, changed and deleted. Ref is its ARN."""

    def template(number: int) -> dict[str, Any]:
        body = {
            "Schema": {"Name": "CloudWatchLogRule", "Version": 1},
            "LogGroupNames": [f"g{number}"],
            "LogFormat": "JSON",
            "Contribution": {"Keys": ["$.key"]},
            "AggregateOn": "Count",
        }
        properties = {"RuleName": "r", "RuleState": "ENABLED", "RuleBody": json.dumps(body)}
        return {"One": {"Type": "AWS::CloudWatch::InsightRule", "Properties": properties}}

    def read(name: str) -> list[Any]:
        assert name.endswith(":insight-rule/r")
        rules = client("cloudwatch").describe_insight_rules()["InsightRules"]
        return [json.loads(it["Definition"])["LogGroupNames"] for it in rules]

    assert _follow(stacks, template, read) == [[["g3"]], [["g4"]], []]


def test_a_rule_that_is_none_fails_the_stack(stacks: Stacks) -> None:
    """The reason of the failure is the service's."""
    properties = {"RuleName": "r", "RuleState": "ENABLED", "RuleBody": "{}"}
    stack = stacks.create(
        {"One": {"Type": "AWS::CloudWatch::InsightRule", "Properties": properties}}, {}
    )
    assert stacks.status(stack) == "ROLLBACK_COMPLETE"
    assert "definition is not valid" in str(stacks.reasons(stack))
