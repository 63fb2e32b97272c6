"""The aliases by which callers reach the public functions, and their canary."""

import json
from typing import Any

import pytest

from infra.settings.deployment import SettingsError, of_stage
from tests.support.synthesis import Synthesis

RELEASED = ["Stream", "Recall"]
"""The constructs of the functions with an alias."""


def of(synthesis: Synthesis, construct: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return the resources of a type that belong to a construct, by their names."""
    return {
        name: it
        for name, it in synthesis.service["Resources"].items()
        if it["Type"] == kind and name.startswith(construct)
    }


def the(synthesis: Synthesis, construct: str, kind: str) -> dict[str, Any]:
    """Return the only resource of a type that belongs to a construct."""
    (found,) = of(synthesis, construct, kind).values()
    return found


@pytest.mark.parametrize("construct", RELEASED)
def test_callers_reach_a_version_by_the_alias(synthesis: Synthesis, construct: str) -> None:
    """The URL, both of its permissions and the distribution's origin are the alias's."""
    alias = the(synthesis, construct, "AWS::Lambda::Alias")["Properties"]
    url = the(synthesis, construct, "AWS::Lambda::Url")["Properties"]
    assert url["InvokeMode"] == "RESPONSE_STREAM"
    assert (alias["Name"], url["Qualifier"]) == ("live", "live")
    permitted = [
        it["Properties"]["Action"]
        for it in of(synthesis, construct, "AWS::Lambda::Permission").values()
        if f"{construct}ReleaseAlias" in json.dumps(it["Properties"]["FunctionName"])
    ]
    assert sorted(permitted) == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]
    version = the(synthesis, construct, "AWS::Lambda::Version")
    # Deleting a version would end the streams that run on it.
    assert version["DeletionPolicy"] == version["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("construct", RELEASED)
def test_a_deployment_group_moves_the_alias(synthesis: Synthesis, construct: str) -> None:
    """CodeDeploy moves the alias, and its group watches both alarms."""
    alias = the(synthesis, construct, "AWS::Lambda::Alias")
    group = the(synthesis, construct, "AWS::CodeDeploy::DeploymentGroup")["Properties"]
    update = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    made = synthesis.service["Resources"]
    assert made[update["DeploymentGroupName"]["Ref"]]["Properties"] == group
    assert group["AutoRollbackConfiguration"]["Enabled"]
    watched = [
        made[alarm["Name"]["Ref"]]["Properties"] for alarm in group["AlarmConfiguration"]["Alarms"]
    ]
    names = {
        alarm["MetricName"]: [dimension["Name"] for dimension in alarm["Dimensions"]]
        for alarm in watched
    }
    assert names == {
        "Errors": ["FunctionName", "Resource", "ExecutedVersion"],
        "Url5xxCount": ["FunctionName", "Resource"],
    }
    assert {construct.lower() in alarm["AlarmDescription"] for alarm in watched} == {True}


@pytest.mark.parametrize("construct", RELEASED)
def test_only_prod_has_a_canary(syntheses: dict[str, Synthesis], construct: str) -> None:
    """In prod a tenth of the requests goes first; in the other stages the alias moves at once."""
    names = {
        stage: the(found, construct, "AWS::CodeDeploy::DeploymentGroup")["Properties"][
            "DeploymentConfigName"
        ]
        for stage, found in syntheses.items()
    }
    canary = "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    at_once = "CodeDeployDefault.LambdaAllAtOnce"
    assert names == {"local": at_once, "dev": at_once, "prod": canary}


@pytest.mark.parametrize("construct", RELEASED)
def test_a_changed_function_is_a_new_version(
    syntheses: dict[str, Synthesis], to_zero: Synthesis, construct: str
) -> None:
    """Another variable of the function publishes another version."""

    def version(found: Synthesis) -> str:
        (name,) = of(found, construct, "AWS::Lambda::Version")
        return name

    assert version(syntheses["dev"]) != version(to_zero)


def test_codedeploy_knows_few_canaries() -> None:
    """Only the minutes of CodeDeploy's own configurations are accepted."""
    with pytest.raises(SettingsError, match="canary_minutes=7: must be 5, 10, 15 or 30, or none"):
        of_stage("dev").replace(canary_minutes=7)
