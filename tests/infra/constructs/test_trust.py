"""AWS services act on this account's resources only on its own behalf (the confused deputy)."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment

from infra.compose import compose
from infra.settings.deployment import of_stage
from tests.support.synthesis import new_app

KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
SOURCES = {"aws:sourceaccount", "aws:sourcearn"}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without-admin-url": {"admin_url": False},
    "codebuild-vpc-key": {
        "image_build": "codebuild",
        "weights": "s3://models/one/model.gguf",
        "kms_key": KEY,
        "subnets": ("subnet-1a", "subnet-2b"),
        "security_groups": ("sg-1",),
    },
    "to-zero": {
        "container": "vllm",
        "instance_type": "ml.g6.12xlarge",
        "weights": "s3://models/one/",
        "scale_to_zero": True,
    },
    "edge": {
        "domain": "api.example.org",
        "hosted_zone": "Z0123456789ABC:example.org",
        "web_acl": "rate",
    },
}
ALLOWED = {
    "CustomCrossRegionExportWriterCustomResourceProviderRole": "made by CDK, whose trust cannot be changed; it "
    "may write parameters of /cdk/exports/ in us-east-1's and the service's region, and "
    "Lambda passes roles within an "
    "account only",
    "CustomCrossRegionExportReaderCustomResourceProviderRole": "likewise",
}
"""Resources by the beginning of their names, and why they may do without."""
ALLOWED_SERVICES = {
    "lambda.amazonaws.com": "AWS documents no condition for execution roles: a function might not start with one; "
    "who "
    "gives Lambda a role needs iam:PassRole in the role's own account",
    "codedeploy.amazonaws.com": "AWS documents no condition for CodeDeploy's service role; iam:PassRole likewise",
}
"""Services that roles may trust without a condition, and why. Other resources' policies and
permissions may not.
"""


Templates = Callable[[str, str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def templates(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Return a function that returns the templates of all stacks of a stage with some options.

    The edge stacks are in another region.
    """

    @cache
    def synthesised(stage: str, options: str) -> list[dict[str, Any]]:
        app = new_app(tmp_path_factory.mktemp(options))
        env = Environment(account="123456789012", region="eu-west-1")
        compose(app, settings=of_stage(stage).replace(**OPTIONS[options]), root=project, env=env)
        return [stack.template for stack in app.synth().stacks]

    return synthesised


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every policy statement in `value` whose principal is a service, at any depth."""
    if isinstance(value, dict):
        if isinstance(principal := value.get("Principal"), dict) and "Service" in principal:
            yield value
        for item in value.values():
            yield from statements(item)
    elif isinstance(value, list):
        for item in value:
            yield from statements(item)


def unconditional(template: dict[str, Any]) -> Iterator[str]:
    """Return the names of resources that a service may use on behalf of any account."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        allowed = ALLOWED_SERVICES if resource["Type"] == "AWS::IAM::Role" else ()
        for statement in statements(properties):
            if statement["Principal"]["Service"] not in allowed and not SOURCES & {
                key.lower() for test in statement.get("Condition", {}).values() for key in test
            }:
                yield name
        permitted = resource["Type"] == "AWS::Lambda::Permission" and properties["Principal"] != "*"
        if permitted and not {"SourceAccount", "SourceArn"} & set(properties):
            yield name


@pytest.mark.parametrize(
    ("stage", "options"),
    [("local", "plain"), ("dev", "plain"), *(("prod", options) for options in OPTIONS)],
)
def test_a_service_acts_for_this_account_only(
    stage: str, options: str, templates: Templates
) -> None:
    """Each trust in a service names the account or resource that the service acts for.

    The lists have the exceptions.
    """
    documents = templates(stage, options)
    roles = [
        it
        for document in documents
        for it in document["Resources"].values()
        if it["Type"] == "AWS::IAM::Role"
    ]
    assert len(roles) >= 4  # so that the test has looked at something
    unbound = {name for template in documents for name in unconditional(template)}
    assert {name for name in unbound if not name.startswith(tuple(ALLOWED))} == set()


def test_what_is_looked_for_is_found() -> None:
    """The check reports roles, policies and permissions without the condition.

    Of Lambda's trust, only that of a role is exempt.
    """
    trust = {"Effect": "Allow", "Principal": {"Service": "s.amazonaws.com"}, "Action": "*"}
    function = {**trust, "Principal": {"Service": "lambda.amazonaws.com"}}
    role = {"AssumeRolePolicyDocument": {"Statement": [trust]}}
    template = {
        "Role": {"Type": "AWS::IAM::Role", "Properties": role},
        "Bucket": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"PolicyDocument": {"Statement": trust}},
        },
        "Permission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {"Principal": "events.amazonaws.com"},
        },
        "Url": {"Type": "AWS::Lambda::Permission", "Properties": {"Principal": "*"}},
        "Other": {
            "Type": "AWS::IAM::Role",
            "Properties": {"x": {**trust, "Condition": {"Bool": {"aws:y": "true"}}}},
        },
        "Lambda": {"Type": "AWS::SQS::QueuePolicy", "Properties": {"x": function}},
        "Function": {"Type": "AWS::IAM::Role", "Properties": {"x": function}},
        "Good": {
            "Type": "AWS::IAM::Role",
            "Properties": {"x": {**trust, "Condition": {"A": {"aws:SourceArn": "b"}}}},
        },
    }
    assert list(unconditional({"Resources": template})) == [
        "Role",
        "Bucket",
        "Permission",
        "Other",
        "Lambda",
    ]


def conditions(statement: dict[str, Any]) -> set[str]:
    """Return the operators and keys of a statement's condition.

    Without one, return an empty text.
    """
    return {
        f"{operator} {key}" for operator, it in statement.get("Condition", {}).items() for key in it
    } or {""}


@pytest.mark.parametrize("options", OPTIONS)
def test_each_service_is_trusted_as_aws_documents_it(options: str, templates: Templates) -> None:
    """The roles for SageMaker and CodeBuild require this account. Those of functions do not."""
    keys: dict[str, set[str]] = {}
    for template in templates("prod", options):
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::IAM::Role" and not name.startswith(tuple(ALLOWED)):
                for it in statements(resource["Properties"]["AssumeRolePolicyDocument"]):
                    keys.setdefault(it["Principal"]["Service"], set()).update(conditions(it))
    documented = {
        "lambda.amazonaws.com": {""},
        "codedeploy.amazonaws.com": {""},
        "sagemaker.amazonaws.com": {"StringEquals aws:SourceAccount"},
    }
    if OPTIONS[options].get("image_build") == "codebuild":
        documented["codebuild.amazonaws.com"] = {"StringEquals aws:SourceAccount"}
    assert keys == documented


def test_grants_hold_under_the_conditions_that_aws_documents(templates: Templates) -> None:
    """Grants have the conditions that AWS documents.

    The key may be granted on for AWS's own resources only, the bucket is listed only where the
    weights are, and network interfaces are created only in the named subnets.
    """
    (execution,) = [
        it["Properties"]["PolicyDocument"]["Statement"]
        for template in templates("prod", "codebuild-vpc-key")
        for name, it in template["Resources"].items()
        if it["Type"] == "AWS::IAM::Policy" and name.startswith("ModelExecutionRole")
    ]
    by_action = {
        action: it
        for it in execution
        for action in (it["Action"] if isinstance(it["Action"], list) else [it["Action"]])
    }
    assert by_action["kms:CreateGrant"]["Condition"] == {
        "Bool": {"kms:GrantIsForAWSResource": "true"}
    }
    assert by_action["s3:ListBucket"]["Condition"] == {
        "StringLike": {"s3:prefix": "one/model.gguf"}
    }
    resource = str(by_action["ec2:CreateNetworkInterface"]["Resource"])
    assert all(
        place in resource
        for place in ("subnet/subnet-1a", "subnet/subnet-2b", "security-group/sg-1")
    )
    assert by_action["ec2:CreateNetworkInterface"]["Resource"] != "*"
