"""Stacks of a stage: where calls go, and the errors for stacks that do not exist."""

import os
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from cli.commands import doctor
from cli.lib import local_cloud, stack
from cli.lib.admin_api import Admin
from cli.lib.project import CommandError
from cli.lib.stack import LocalStack


@pytest.mark.parametrize("deploying", [False, True])
@pytest.mark.usefixtures("account")
def test_what_is_not_deployed_yet_is_called_so(
    deploy: Callable[..., None], deploying: bool
) -> None:
    """If the stack does not exist or is being created, the error says how to deploy it."""
    if deploying:
        deploy()
    for ask in (Admin.of, doctor.read):
        with pytest.raises(
            CommandError,
            match=r"sluice-dev-service is not deployed \(yet\)\. .*make deploy STAGE=dev",
        ):
            ask("dev", "sluice")


KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
BOTH = "Set AWS_PROFILE to a profile that has a region and credentials."


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, f"No AWS region and no AWS credentials are set for the stage dev. {BOTH}"),
        (KEYS, "No AWS region is set for the stage dev. Set AWS_PROFILE to a profile that has a"),
        ({"AWS_REGION": "eu-north-1"}, "No AWS credentials are set for the stage dev."),
        ({"AWS_DEFAULT_REGION": "eu-north-1"}, "No AWS credentials are set for the stage dev."),
        ({"AWS_PROFILE": "nobody", "AWS_REGION": "eu-north-1"}, "profile (nobody) could not be"),
    ],
)
@pytest.mark.usefixtures("nowhere")
def test_all_that_the_environment_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    """Region and credentials are looked up before the first call, which may need only one."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CommandError) as caught:
        stack.aws_options("dev")
    assert said in str(caught.value)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
@pytest.mark.usefixtures("nowhere")
def test_the_region_is_that_of_either_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Commands use the region that the CDK CLI uses. It reads both variables; boto3 reads one."""
    for name, value in {**KEYS, variable: "eu-north-1"}.items():
        monkeypatch.setenv(name, value)
    assert (
        boto3.client("cloudformation", **stack.aws_options("dev")).meta.region_name == "eu-north-1"
    )


def test_calls_to_the_local_stack_stay_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a missing profile nor a proxy affects calls to this machine."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("no_proxy", "")
    stack.stay_local()
    boto3.client("sts", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    assert os.environ["NO_PROXY"] == "example.org,localhost,127.0.0.1"
    assert os.environ["no_proxy"] == "localhost,127.0.0.1"


def test_another_name_than_the_local_stacks_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one local stack. Without a name it is meant, whatever it is called."""
    local = LocalStack("http://localhost:1/v1", "sk", "m", "table", name="mine")
    monkeypatch.setattr(LocalStack, "load", lambda: local)
    assert LocalStack.of("local", "sluice") is local
    assert LocalStack.of("local", "mine") is local
    with pytest.raises(CommandError, match="The stack other-local-service is not deployed"):
        LocalStack.of("local", "other")


def test_a_cloud_that_is_starting_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a `sluice up` is at work, no command says to start another one."""
    monkeypatch.setattr("local.cloud.LocalCloud.find", lambda _folder: None)
    monkeypatch.setattr(local_cloud, "LOCAL", tmp_path)
    with local_cloud.alone(tmp_path), pytest.raises(CommandError, match="still at work here"):
        LocalStack.load()
    with pytest.raises(CommandError, match="No local cloud is running"):
        LocalStack.load()
