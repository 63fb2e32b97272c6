"""The security rules that every synthesis applies."""

import json
from pathlib import Path

import pytest
from aws_cdk import Environment
from aws_cdk import aws_s3 as s3

from cli.lib.project import ROOT
from infra.compose import compose
from infra.settings.context import settings_from_context
from infra.settings.deployment import DEV
from tests.support.synthesis import new_app


def test_a_finding_that_is_not_accepted_stops_the_synthesis(project: Path, tmp_path: Path) -> None:
    """A finding of the security rules that is not accepted stops every synthesis.

    So the synthesis of each stage shows that the stage passes them.
    """
    app = new_app(tmp_path)
    state, _ = compose(app, settings=DEV, root=project)
    s3.Bucket(state, "Open")
    with pytest.raises(RuntimeError, match="AwsSolutions-S10"):
        app.synth()


def test_a_certain_account_and_region_pass_the_rules(project: Path, tmp_path: Path) -> None:
    """Findings name the account and region that a stack is for, which a web ACL needs to know.

    The settings are those whose grants name both in a wildcard. The flags of cdk.json count: one of
    them lets findings name the partition, too.
    """
    context = {
        "stage": "dev",
        "web_acl": "rate",
        "websocket": "true",
        "image_build": "codebuild",
        "container": "vllm",
        "instance_type": "ml.g6.xlarge",
        "weights": "s3://models/one/",
        "model_name": "one",
        "subnets": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
        "security_groups": "sg-0123456789abcdef0",
    }
    app = new_app(tmp_path)
    for name, value in json.loads((ROOT / "cdk.json").read_text())["context"].items():
        app.node.set_context(name, value)
    env = Environment(account="123456789012", region="eu-west-1")
    compose(app, settings=settings_from_context(context), root=project, env=env)
    app.synth()
