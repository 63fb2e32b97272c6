"""The alias by which callers reach the stream function, and its canary."""

import json

import pytest

from infra.settings.deployment import SettingsError, of_stage
from tests.support.synthesis import Synthesis, resource


def test_callers_reach_a_version_by_the_alias(synthesis: Synthesis) -> None:
    """The URL, both of its permissions and the distribution's origin are the alias's."""
    alias = synthesis.the("AWS::Lambda::Alias")
    [url] = [
        it["Properties"]
        for it in synthesis.resources("AWS::Lambda::Url")
        if it["Properties"]["InvokeMode"] == "RESPONSE_STREAM"
    ]
    assert (alias["Name"], url["Qualifier"]) == ("live", "live")
    permitted = [
        it["Properties"]["Action"]
        for it in synthesis.resources("AWS::Lambda::Permission")
        if "ReleaseAlias" in json.dumps(it["Properties"]["FunctionName"])
    ]
    assert sorted(permitted) == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]
    version = resource(synthesis, "AWS::Lambda::Version")
    # Deleting a version would end the streams that run on it.
    assert version["DeletionPolicy"] == version["UpdateReplacePolicy"] == "Retain"


def test_a_deployment_group_moves_the_alias(synthesis: Synthesis) -> None:
    """CodeDeploy moves the alias, and its group watches both alarms."""
    alias = resource(synthesis, "AWS::Lambda::Alias")
    group = synthesis.the("AWS::CodeDeploy::DeploymentGroup")
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


def test_only_prod_has_a_canary(syntheses: dict[str, Synthesis]) -> None:
    """In prod a tenth of the requests goes first; in the other stages the alias moves at once."""
    names = {
        stage: found.the("AWS::CodeDeploy::DeploymentGroup")["DeploymentConfigName"]
        for stage, found in syntheses.items()
    }
    canary = "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    at_once = "CodeDeployDefault.LambdaAllAtOnce"
    assert names == {"local": at_once, "dev": at_once, "prod": canary}


def test_a_changed_function_is_a_new_version(
    syntheses: dict[str, Synthesis], to_zero: Synthesis
) -> None:
    """Another variable of the function publishes another version."""

    def version(found: Synthesis) -> str:
        names: list[str] = [
            name
            for name, it in found.service["Resources"].items()
            if it["Type"] == "AWS::Lambda::Version"
        ]
        assert len(names) == 1
        return names[0]

    assert version(syntheses["dev"]) != version(to_zero)


def test_codedeploy_knows_few_canaries() -> None:
    """Only the minutes of CodeDeploy's own configurations are accepted."""
    with pytest.raises(SettingsError, match="canary_minutes=7: must be 5, 10, 15 or 30, or none"):
        of_stage("dev").replace(canary_minutes=7)
