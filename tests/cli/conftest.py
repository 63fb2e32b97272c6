"""Fixtures for the tests of commands: an account without stacks, in moto."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli.lib.endpoint_state import PARAMETER


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield boto3's CloudFormation client of an account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield boto3.client("cloudformation", region_name="eu-central-1")


@pytest.fixture
def deploy(account: Any) -> Callable[..., None]:
    """Return a function that makes the stack `sluice-dev-service`.

    It takes the stack's outputs and the endpoint's state.
    """

    def deploy(*, state: str = "Running", outputs: dict[str, str] | None = None) -> None:
        template: dict[str, Any] = {
            "Parameters": {PARAMETER: {"Type": "String", "Default": state}},
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        }
        if outputs:
            template["Outputs"] = {name: {"Value": value} for name, value in outputs.items()}
        account.create_stack(StackName="sluice-dev-service", TemplateBody=json.dumps(template))

    return deploy


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove region, credentials and profile from the environment."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
