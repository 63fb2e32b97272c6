"""Second opinions on the templates of every stage and option, in `make check`.

CDK's own validation (cdk-nag among it), cfn-lint, the models of the services that CloudFormation
calls, and the service authorization reference.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Environment
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from infra.compose import compose
from tests.support import api_models, iam_reference
from tests.support.option_matrix import MATRIX, missing, settings_of
from tests.support.tagged import untagged

pytestmark = pytest.mark.templates

REGIONS = ["us-east-1", "eu-central-1"]
ALLOWED = {
    "W3005": "CDK adds a dependency on a role beside the one that its ARN is",
}
"""Rules of cfn-lint that say nothing about these templates, and why."""
MORE = ["I3510"]
"""The rule that actions know the resources that they are granted on."""


def linted(template: dict[str, Any]) -> Iterator[str]:
    """Yield what cfn-lint finds in a template."""
    config = ManualArgs(regions=REGIONS, include_checks=MORE, ignore_checks=[*ALLOWED])
    for it in lint(json.dumps(template), config=config):
        yield f"cfn-lint {it.rule.id} {'.'.join(map(str, it.path))}: {it.message}"


def reported(folder: Path) -> Iterator[str]:
    """Yield what CDK's validation reports of a synthesis, warnings too."""
    path = folder / "validation-report.json"
    for report in json.loads(path.read_text())["pluginReports"] if path.exists() else []:
        for it in report["violations"]:
            yield f"{report['pluginName']} {it['ruleName']}: {it['description']}"


@pytest.mark.parametrize("name", MATRIX)
def test_the_templates_of_a_deployment(name: str, project: Path, tmp_path: Path) -> None:
    """No checker finds anything in the stacks of a deployment."""
    settings = settings_of(name)
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    env = Environment(account="123456789012", region="eu-central-1")
    compose(app, settings=settings, root=project, env=env if settings.edge_stacks else None)
    stacks = app.synth().stacks
    templates = [stack.template for stack in stacks]
    assert len(templates) == 2 + len(settings.edge_stacks)
    found = [*reported(tmp_path)]
    tags = {**settings.tags, "sluice:deployment": f"{settings.name}-{settings.stage}"}
    assert all(stack.tags == tags for stack in stacks)
    for template in templates:
        found += untagged(template, tags)
        found += linted(template)
        found += [str(it) for it in api_models.problems(template)]
        found += iam_reference.problems(template)
    assert found == []


def test_every_option_is_among_the_deployments() -> None:
    """The matrix has each choice of each setting, and a second value of each other setting."""
    assert missing() == []


def template_of(kind: str, **properties: Any) -> dict[str, Any]:
    """Return a template with one resource."""
    return {"Resources": {"It": {"Type": kind, "Properties": properties}}}


def test_a_missing_tag_is_found() -> None:
    """A resource that takes tags and lacks one is reported; one that takes none is not."""
    tags = {"a": "b"}
    tagged = template_of("AWS::SNS::Topic", Tags=[{"Key": "a", "Value": "b"}])
    assert [*untagged(tagged, tags)] == []
    assert [*untagged(template_of("AWS::Lambda::Url"), tags)] == []
    assert [*untagged(template_of("AWS::SNS::Topic"), tags)] == [
        "AWS::SNS::Topic It lacks the tag a"
    ]


VARIANT = {
    "VariantName": "v",
    "InstanceType": "ml.c5.large",
    "InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-3-1",
    "InitialInstanceCount": 1,
    "ContainerStartupHealthCheckTimeoutInSeconds": 60,
}


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"InferenceAmiVersion": "al2023-ami-sagemaker-inference-gpu-3-1"}, "InferenceAmiVersion",
         "is not one of"),
        ({"VariantName": "a b"}, "VariantName", "does not match"),
        ({"VariantName": "a" * 63}, "", ""),
        ({"ModelName": "a" * 64}, "ModelName", "64 characters must be 0 to 63"),
        ({"InitialInstanceCount": 0}, "InitialInstanceCount", "0  must be 1 to None"),
        ({"InitialInstanceCount": "many"}, "InitialInstanceCount", "'many' is no integer"),
        ({"ContainerStartupHealthCheckTimeoutInSeconds": "3601"},
         "ContainerStartupHealthCheckTimeoutInSeconds", "3601  must be 60 to 3600"),
        ({"EnableSSMAccess": "perhaps"}, "EnableSSMAccess", "is no boolean"),
        ({"Unheard": 1}, "Unheard", "the API has no such member"),
        ({"RoutingConfig": "x"}, "RoutingConfig", "is no structure"),
        ({"InferenceAmiVersion": {"Fn::If": ["C", {"Ref": "P"}, "x"]}}, "InferenceAmiVersion",
         "'x' is not one of"),
    ],
)  # fmt: skip
def test_the_models_reject_what_the_api_rejects(
    changes: dict[str, Any], path: str, says: str
) -> None:
    """Each kind of bound in a service's model is enforced, at any depth."""
    kind = "AWS::SageMaker::EndpointConfig"
    assert [*api_models.problems(template_of(kind, ProductionVariants=[VARIANT]))] == []
    found = [*api_models.problems(template_of(kind, ProductionVariants=[VARIANT | changes]))]
    if not path:
        assert found == []
        return
    [problem] = found
    assert problem.path == f"{kind}.ProductionVariants.0.{path}"
    assert says in problem.says


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (template_of("AWS::SageMaker::Model", PrimaryContainer={"Environment": {"A": "a" * 1025}}),
         "1025 characters must be 0 to 1024"),
        (template_of("AWS::Lambda::Function", MemorySize=64), "64  must be 128 to"),
        (template_of("AWS::Events::Rule", Targets=[{"Id": "a b", "Arn": "x"}]), "does not match"),
        (template_of("AWS::Some::Thing"), "no call is known"),
    ],
)  # fmt: skip
def test_other_calls_and_maps_are_read_too(template: dict[str, Any], says: str) -> None:
    """Entries of maps, properties that another call takes, and unknown types are not skipped."""
    [found] = api_models.problems(template)
    assert says in found.says


def policy(**statement: Any) -> dict[str, Any]:
    """Return a template with one policy of one statement."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
    return template_of("AWS::IAM::Policy", PolicyName="p", Users=["u"], PolicyDocument=document)


TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/t"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ({"Action": "dynamodb:GetItems", "Resource": TABLE}, "there is no such action"),
        ({"Action": "dynamodb:GetItem", "Resource": TABLE,
          "Condition": {"StringLike": {"dynamodb:LeadingKey": "x"}}}, "no condition key"),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
          "Condition": {"StringLike": {"s3:prefix": "x"}}}, "no condition key"),
    ],
)  # fmt: skip
def test_a_grant_that_grants_nothing_is_found(statement: dict[str, Any], says: str) -> None:
    """An action or a condition key that AWS does not know is found."""
    [found] = iam_reference.problems(policy(**statement))
    assert says in found
    assert [*iam_reference.problems(policy(Action="dynamodb:GetItem", Resource=TABLE))] == []


@pytest.mark.parametrize(
    ("template", "rule"),
    [
        (template_of("AWS::SageMaker::EndpointConfig", ProductionVariants=[
            VARIANT | {"InferenceAmiVersion": "al2023-ami-sagemaker-inference-gpu-3-1"}]), "E3030"),
        (policy(Action="dynamodb:GetItem", Resource="arn:aws:s3:::bucket/x"), "I3510"),
        (policy(Action="dynamodb:GetItem", Resource=TABLE,
                Condition={"StringLikes": {"aws:SourceIp": "x"}}), "E3510"),
    ],
)  # fmt: skip
def test_cfn_lint_finds_what_it_is_there_for(template: dict[str, Any], rule: str) -> None:
    """Enumerations, resources that an action does not know, and the grammar of policies."""
    assert f"cfn-lint {rule} " in "\n".join(linted(template))


def test_a_warning_of_cdk_fails_the_check(project: Path, tmp_path: Path) -> None:
    """CDK only prints what its own validation finds. Here it counts."""
    from aws_cdk import aws_sagemaker as sagemaker

    app = App(outdir=str(tmp_path), analytics_reporting=False)
    state, _ = compose(app, settings=settings_of("theirs"), root=project)
    variant = sagemaker.CfnEndpointConfig.ProductionVariantProperty(
        variant_name="v",
        model_name="m",
        initial_variant_weight=1,
        inference_ami_version="al2023-ami-sagemaker-inference-gpu-3-1",
    )
    sagemaker.CfnEndpointConfig(state, "Wrong", production_variants=[variant])
    app.synth()
    assert "W3030" in " ".join(reported(tmp_path))
