"""The canary of an alias, over stacks in a local cloud in which its minutes are short."""

from typing import Any

import pytest

from tests.support.local_cloud import Client, Stacks
from tests.support.resources import ROLE, function

OUTPUTS = {"Name": {"Ref": "Function"}, "Alias": {"Ref": "Alias"}}


def template(word: str) -> dict[str, Any]:
    """Return a function whose variable is `word`, published under the alias `live`."""
    name = {"Ref": "Function"}
    dimensions = [{"Name": "FunctionName", "Value": name}]
    policy = {"ApplicationName": {"Ref": "App"}, "DeploymentGroupName": {"Ref": "Group"}}
    return {
        "Role": ROLE,
        "Function": function(Environment={"Variables": {"WORD": word}}),
        f"Version{word}": {
            "Type": "AWS::Lambda::Version",
            "DeletionPolicy": "Retain",
            "Properties": {"FunctionName": name},
        },
        "Alias": {
            "Type": "AWS::Lambda::Alias",
            "UpdatePolicy": {"CodeDeployLambdaAliasUpdate": policy},
            "Properties": {
                "FunctionName": name,
                "FunctionVersion": {"Fn::GetAtt": [f"Version{word}", "Version"]},
                "Name": "live",
            },
        },
        "Alarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "Namespace": "AWS/Lambda",
                "MetricName": "Errors",
                "Dimensions": dimensions,
                "Statistic": "Sum",
                "Period": 300,
                "EvaluationPeriods": 1,
                "Threshold": 2,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            },
        },
        "App": {
            "Type": "AWS::CodeDeploy::Application",
            "Properties": {"ComputePlatform": "Lambda"},
        },
        "Group": {
            "Type": "AWS::CodeDeploy::DeploymentGroup",
            "Properties": {
                "ApplicationName": {"Ref": "App"},
                "ServiceRoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "DeploymentConfigName": "CodeDeployDefault.LambdaCanary10Percent5Minutes",
                "AlarmConfiguration": {"Enabled": True, "Alarms": [{"Name": {"Ref": "Alarm"}}]},
            },
        },
    }


def served(client: Client, name: str) -> tuple[str, dict[str, float]]:
    """Return the alias's version, and the shares of others."""
    alias = client("lambda").get_alias(FunctionName=name, Name="live")
    further = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    return alias["FunctionVersion"], further


def test_a_canary_moves_the_alias(client: Client, stacks: Stacks) -> None:
    """Without an alarm, the alias ends at the new version, and the old one is kept."""
    stack = stacks.create(template("One"), OUTPUTS)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    name = stacks.outputs(stack)["Name"]
    assert served(client, name) == ("1", {})
    stacks.update(stack, template("Two"), OUTPUTS)
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    assert served(client, name) == ("2", {})
    versions = client("lambda").list_versions_by_function(FunctionName=name)["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "1", "2"]


@pytest.mark.parametrize(
    ("errors", "ends"), [(1.0, "UPDATE_COMPLETE"), (2.0, "UPDATE_ROLLBACK_COMPLETE")]
)
def test_an_alarm_ends_a_canary(client: Client, stacks: Stacks, errors: float, ends: str) -> None:
    """When the alarm's metric reaches its threshold, alias and stack are as before."""
    stack = stacks.create(template("One"), OUTPUTS)
    name = stacks.outputs(stack)["Name"]
    dimensions = [{"Name": "FunctionName", "Value": name}]
    data = {"MetricName": "Errors", "Dimensions": dimensions, "Value": errors, "Unit": "Count"}
    client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=[data])
    stacks.update(stack, template("Two"), OUTPUTS)
    assert stacks.status(stack) == ends, stacks.reasons(stack)
    rolled_back = ends == "UPDATE_ROLLBACK_COMPLETE"
    assert served(client, name) == ("1" if rolled_back else "2", {})
    assert ("is in the state ALARM" in stacks.reasons(stack)) == rolled_back
