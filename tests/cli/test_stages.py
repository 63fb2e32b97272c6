"""What commands say of stacks that are not there, or whose endpoint is stopped."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli import charts, doctor, endpoint
from cli.admin import Admin
from cli.chat import Unavailable
from cli.project import CommandError

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
