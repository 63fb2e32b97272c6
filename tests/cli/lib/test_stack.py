"""What commands say of stacks that are not there, or whose endpoint is stopped."""

import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli.commands import doctor, endpoint
from cli.commands.chat import Unavailable
from cli.lib import charts, stack
from cli.lib.admin_api import Admin
from cli.lib.project import CommandError
from cli.main import main

STACK = "sluice-dev-service"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CloudFormation of an account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield boto3.client("cloudformation", region_name="eu-central-1")


def deployed(cloudformation: Any, *, state: str) -> None:
    """Make a stack that has no outputs, as while its first deployment runs, and the endpoint's parameter."""
    template = {
        "Parameters": {endpoint.PARAMETER: {"Type": "String", "Default": state}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    }
    cloudformation.create_stack(StackName=STACK, TemplateBody=json.dumps(template))


@pytest.mark.parametrize("deploying", [False, True])
def test_what_is_not_deployed_yet_is_called_so(account: Any, deploying: bool) -> None:
    """Without the stack, and while it is being made, the commands say so and how it is deployed."""
    if deploying:
        deployed(account, state="Running")
    for ask in (Admin.of, doctor.read):
        with pytest.raises(CommandError, match=rf"{STACK} is not deployed \(yet\).*make deploy STAGE=dev"):
            ask("dev", "sluice")


def test_no_region_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region the commands name the variable that is missing."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    for ask in (Admin.of, doctor.read):
        with pytest.raises(CommandError, match="AWS_REGION"):
            ask("dev", "sluice")


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_is_that_of_either_variable(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Commands go where the CDK CLI goes, which reads both, as boto3 alone does not."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv(variable, "eu-north-1")
    assert boto3.client("cloudformation", **stack.aws_options("dev")).meta.region_name == "eu-north-1"


def test_what_is_local_stays_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that there is not, and a proxy, do not reach what runs on this machine."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("no_proxy", "")
    stack.stay_local()
    boto3.client("sts", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    assert os.environ["NO_PROXY"] == "example.org,localhost,127.0.0.1"
    assert os.environ["no_proxy"] == "localhost,127.0.0.1"


def test_a_deployed_stack_can_be_talked_to(
    account: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`env --stage` names the address of a deployment, by its own domain if it has one, and the key that is set."""
    outputs = {"DistributionDomain": "d1.cloudfront.net", "ModelName": "m"}
    template: dict[str, Any] = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    account.create_stack(StackName=STACK, TemplateBody=json.dumps(template))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["env", "--stage", "dev"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "export OPENAI_BASE_URL=https://d1.cloudfront.net/v1"
    assert said[1].startswith("# OPENAI_API_KEY is yours to set")
    assert main(["chat", "--stage", "dev", "Hello"]) == 1
    assert "Set OPENAI_API_KEY" in capsys.readouterr().err
    template["Outputs"]["Domain"] = {"Value": "api.example.org"}
    account.update_stack(StackName=STACK, TemplateBody=json.dumps(template))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert main(["env", "--stage", "dev"]) == 0
    assert capsys.readouterr().out == (
        "export OPENAI_BASE_URL=https://api.example.org/v1\nexport OPENAI_API_KEY=sk-x\n"
    )


def test_a_503_of_a_stopped_endpoint_is_explained(account: Any) -> None:
    """Where the endpoint is stopped the command that starts it is named; where it is not, the API has the word."""
    with pytest.raises(Unavailable, match="The API says"), endpoint.explained("dev", "sluice"):
        raise Unavailable("The API says: no.")
    deployed(account, state="Stopped")
    with pytest.raises(CommandError, match="sluice endpoint start --stage dev"), endpoint.explained("dev", "sluice"):
        raise Unavailable("The API says: no.")


def test_stopping_twice_is_no_failure(account: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A stopped endpoint is left as it is, and only that is said."""
    deployed(account, state="Stopped")
    endpoint.stop("dev", "sluice")
    assert capsys.readouterr().out == f"The endpoint of {STACK} is stopped already.\n"


def test_refused_requests_are_apart() -> None:
    """What a report calls requests is what a key's totals call so: those that were not refused."""
    row = {"requests": 5, "outcomes": {"complete": 3, "refused": 2}}
    shown = charts.unrefused(row)
    assert (shown["requests"], shown["refused"]) == (3, 2)
    assert charts.unrefused({"requests": 1, "outcomes": {"cut": 1}})["refused"] == 0
