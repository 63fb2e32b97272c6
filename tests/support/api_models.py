"""Holds the properties of templates against the API's own models, as botocore has them.

CloudFormation passes most properties on to the call that makes the resource. The service's model
knows enumerations, lengths, ranges and patterns that CloudFormation's registry does not. A property
is matched to a member by its name, whatever its case. What has no member must be in `OTHERS` or
`OWN`, so that nothing is skipped unseen. A value that only CloudFormation knows is not checked.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import botocore.session
import regex

CALLS: dict[str, tuple[str, str, str]] = {
    "AWS::ApiGateway::Account": ("apigateway", "Account", ""),
    "AWS::ApiGatewayV2::Api": ("apigatewayv2", "CreateApi", ""),
    "AWS::ApiGatewayV2::Integration": ("apigatewayv2", "CreateIntegration", ""),
    "AWS::ApiGatewayV2::Route": ("apigatewayv2", "CreateRoute", ""),
    "AWS::ApiGatewayV2::Stage": ("apigatewayv2", "CreateStage", ""),
    "AWS::ApplicationAutoScaling::ScalableTarget": (
        "application-autoscaling", "RegisterScalableTarget", ""),
    "AWS::ApplicationAutoScaling::ScalingPolicy": (
        "application-autoscaling", "PutScalingPolicy", ""),
    "AWS::CertificateManager::Certificate": ("acm", "RequestCertificate", ""),
    "AWS::CloudFront::Distribution": ("cloudfront", "CreateDistribution", ""),
    "AWS::CloudFront::OriginAccessControl": ("cloudfront", "CreateOriginAccessControl", ""),
    "AWS::CloudFront::ResponseHeadersPolicy": ("cloudfront", "CreateResponseHeadersPolicy", ""),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm", ""),
    "AWS::CloudWatch::CompositeAlarm": ("cloudwatch", "PutCompositeAlarm", ""),
    "AWS::CloudWatch::Dashboard": ("cloudwatch", "PutDashboard", ""),
    "AWS::CloudWatch::InsightRule": ("cloudwatch", "PutInsightRule", ""),
    "AWS::CodeBuild::Project": ("codebuild", "CreateProject", ""),
    "AWS::CodeDeploy::Application": ("codedeploy", "CreateApplication", ""),
    "AWS::CodeDeploy::DeploymentGroup": ("codedeploy", "CreateDeploymentGroup", ""),
    "AWS::DynamoDB::GlobalTable": ("dynamodb", "CreateTable", ""),
    "AWS::ECR::Repository": ("ecr", "CreateRepository", ""),
    "AWS::Events::Rule": ("events", "PutRule", ""),
    "AWS::IAM::Policy": ("iam", "PutRolePolicy", ""),
    "AWS::IAM::Role": ("iam", "CreateRole", ""),
    "AWS::Lambda::Alias": ("lambda", "CreateAlias", ""),
    "AWS::Lambda::EventInvokeConfig": ("lambda", "PutFunctionEventInvokeConfig", ""),
    "AWS::Lambda::Function": ("lambda", "CreateFunction", ""),
    "AWS::Lambda::Permission": ("lambda", "AddPermission", ""),
    "AWS::Lambda::Url": ("lambda", "CreateFunctionUrlConfig", ""),
    "AWS::Lambda::Version": ("lambda", "PublishVersion", ""),
    "AWS::Logs::LogGroup": ("logs", "CreateLogGroup", ""),
    "AWS::Route53::RecordSet": ("route53", "", "ResourceRecordSet"),
    "AWS::S3::Bucket": ("s3", "CreateBucket", ""),
    "AWS::S3::BucketPolicy": ("s3", "PutBucketPolicy", ""),
    "AWS::SageMaker::Endpoint": ("sagemaker", "CreateEndpoint", ""),
    "AWS::SageMaker::EndpointConfig": ("sagemaker", "CreateEndpointConfig", ""),
    "AWS::SageMaker::InferenceComponent": ("sagemaker", "CreateInferenceComponent", ""),
    "AWS::SageMaker::Model": ("sagemaker", "CreateModel", ""),
    "AWS::SecretsManager::RotationSchedule": ("secretsmanager", "RotateSecret", ""),
    "AWS::SecretsManager::Secret": ("secretsmanager", "CreateSecret", ""),
    "AWS::WAFv2::WebACL": ("wafv2", "CreateWebACL", ""),
}  # fmt: skip
"""The call that makes a resource: its service and operation, or a shape of the service."""
NOT_MADE_BY_A_CALL = {"AWS::CloudFormation::CustomResource", "AWS::SSM::Parameter"}
"""Types of CDK's own helpers, which are not this project's."""
OTHERS: dict[str, tuple[str, str, str]] = {
    "AWS::ApplicationAutoScaling::ScalableTarget.ScheduledActions": (
        "application-autoscaling", "PutScheduledAction", ""),
    "AWS::CloudFront::Distribution.Tags": ("cloudfront", "TagResource", "Tags.Items"),
    "AWS::CloudWatch::InsightRule.RuleBody": (
        "cloudwatch", "PutInsightRule", "RuleDefinition"),
    "AWS::DynamoDB::GlobalTable.TimeToLiveSpecification": (
        "dynamodb", "UpdateTimeToLive", "TimeToLiveSpecification"),
    "AWS::ECR::Repository.LifecyclePolicy": ("ecr", "PutLifecyclePolicy", ""),
    "AWS::Events::Rule.Targets": ("events", "PutTargets", "Targets"),
    "AWS::Lambda::Function.ReservedConcurrentExecutions": (
        "lambda", "PutFunctionConcurrency", "ReservedConcurrentExecutions"),
    "AWS::Lambda::Url.TargetFunctionArn": ("lambda", "CreateFunctionUrlConfig", "FunctionName"),
    "AWS::Logs::LogGroup.RetentionInDays": ("logs", "PutRetentionPolicy", "retentionInDays"),
    "AWS::Route53::RecordSet.HostedZoneId": (
        "route53", "ChangeResourceRecordSets", "HostedZoneId"),
    "AWS::S3::Bucket.BucketEncryption": ("s3", "PutBucketEncryption", ""),
    "AWS::S3::Bucket.BucketEncryption.ServerSideEncryptionConfiguration": (
        "s3", "PutBucketEncryption", "ServerSideEncryptionConfiguration.Rules"),
    "AWS::S3::Bucket.BucketEncryption.ServerSideEncryptionConfiguration"
    ".ServerSideEncryptionByDefault": ("s3", "ServerSideEncryptionByDefault", ""),
    "AWS::S3::Bucket.OwnershipControls": (
        "s3", "PutBucketOwnershipControls", "OwnershipControls"),
    "AWS::S3::Bucket.PublicAccessBlockConfiguration": (
        "s3", "PutPublicAccessBlock", "PublicAccessBlockConfiguration"),
    "AWS::S3::Bucket.Tags": ("s3", "PutBucketTagging", "Tagging.TagSet"),
    "AWS::S3::BucketPolicy.PolicyDocument": ("s3", "PutBucketPolicy", "Policy"),
    "AWS::SageMaker::Endpoint.RetainAllVariantProperties": (
        "sagemaker", "UpdateEndpoint", "RetainAllVariantProperties"),
    "AWS::SageMaker::InferenceComponent.DeploymentConfig": (
        "sagemaker", "UpdateInferenceComponent", "DeploymentConfig"),
    "AWS::SecretsManager::RotationSchedule.RotateImmediatelyOnUpdate": (
        "secretsmanager", "RotateSecret", "RotateImmediately"),
    "AWS::SecretsManager::Secret.GenerateSecretString": (
        "secretsmanager", "GetRandomPassword", ""),
    "AWS::CloudFront::Distribution.DistributionConfig.IPV6Enabled": (
        "cloudfront", "CreateDistribution", "DistributionConfig.IsIPV6Enabled"),
    "AWS::CloudFront::Distribution.DistributionConfig.Origins.OriginCustomHeaders": (
        "cloudfront", "CreateDistribution", "DistributionConfig.Origins.Items.CustomHeaders"),
    "AWS::DynamoDB::GlobalTable.SSESpecification.SSEEnabled": (
        "dynamodb", "CreateTable", "SSESpecification.Enabled"),
    "AWS::DynamoDB::GlobalTable.Replicas.DeletionProtectionEnabled": (
        "dynamodb", "CreateTable", "DeletionProtectionEnabled"),
}  # fmt: skip
"""Properties that another call takes, or a member of another name: service, operation, path."""
OWN = {
    "AWS::ApplicationAutoScaling::ScalableTarget.Tags",
    "AWS::ApplicationAutoScaling::ScalingPolicy.ScalingTargetId",
    "AWS::CertificateManager::Certificate.DomainValidationOptions.HostedZoneId",
    "AWS::DynamoDB::GlobalTable.Replicas",
    "AWS::ECR::Repository.EmptyOnDelete",
    "AWS::IAM::Policy.Roles",
    "AWS::IAM::Role.ManagedPolicyArns",  # only CDK's own helpers have these two
    "AWS::IAM::Role.Policies",
    "AWS::Lambda::Function.Tags",
    "AWS::Logs::LogGroup.Tags",
}
"""Properties that CloudFormation itself reads, or writes in another form."""
PRIMITIVES = {"integer": int, "long": int, "float": float, "double": float}


class Problem(NamedTuple):
    """A property that the API would reject, or that has no member."""

    resource: str
    path: str
    says: str


def problems(template: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield everything in a template that the services' models reject."""
    for name, resource in template["Resources"].items():
        kind = resource["Type"]
        if kind.startswith("Custom::") or kind in NOT_MADE_BY_A_CALL:
            continue
        if kind not in CALLS:
            yield Problem(name, kind, "no call is known that makes it")
            continue
        service, operation, shape = CALLS[kind]
        properties = resource.get("Properties", {})
        for path, says in _structure(shape_of(service, operation or shape), properties, kind):
            yield Problem(name, path, says)


@cache
def shape_of(service: str, name: str, path: str = "") -> Any:
    """Return the shape of an operation's input, or one by its name, or one of its parts."""
    model = botocore.session.get_session().get_service_model(service)
    shape = (
        model.operation_model(name).input_shape
        if name in model.operation_names
        else model.shape_for(name)
    )
    for part in path.split(".") if path else ():
        shape = shape.member if shape.type_name == "list" else shape
        shape = shape.members[part]
    return shape


def _known_later(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith(
        ("Ref", "Fn::")
    )  # fmt: skip


def _check(shape: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        for branch in value["Fn::If"][1:]:
            yield from _check(shape, branch, path)
    elif _known_later(value):
        return
    elif shape.type_name == "structure":
        yield from _of_structure(shape, value, path)
    elif shape.type_name == "list":
        items = value if isinstance(value, list) else [value]
        yield from _bounds(shape, len(items), path, "items")
        for number, item in enumerate(items):
            yield from _check(shape.member, item, f"{path}.{number}")
    elif shape.type_name == "map":
        yield from _of_map(shape, value, path)
    elif shape.type_name == "string":
        yield from _string(shape, value, path)
    elif shape.type_name in PRIMITIVES:
        try:
            number = PRIMITIVES[shape.type_name](value)
        except (TypeError, ValueError):
            yield path, f"{value!r} is no {shape.type_name}"
        else:
            yield from _bounds(shape, number, path, "")
    elif shape.type_name == "boolean" and str(value).lower() not in {"true", "false"}:
        yield path, f"{value!r} is no boolean"


def _of_structure(shape: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list) and {"Quantity", "Items"} <= set(shape.members):  # CloudFront's
        yield from _check(shape.members["Items"], value, path)
    elif isinstance(value, list) and regex.sub(r"\.\d+", "", path) in OTHERS:  # a call for each
        for number, item in enumerate(value):
            yield from _check(shape, item, f"{path}.{number}")
    elif not isinstance(value, dict):
        yield path, f"{value!r} is no structure"
    else:
        yield from _structure(shape, value, path)


def _structure(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    members = {name.lower(): name for name in shape.members}
    for name, item in value.items():
        here = f"{path}.{name}"
        place = regex.sub(r"\.\d+", "", here)
        if place in OWN:
            continue
        if place in OTHERS:
            yield from _check(shape_of(*OTHERS[place]), item, here)
        elif (member := members.get(name.lower())) is None:
            yield here, "the API has no such member"
        else:
            yield from _check(shape.members[member], item, here)


def _of_map(shape: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, f"{value!r} is no map"
        return
    yield from _bounds(shape, len(value), path, "entries")
    for key, item in value.items():
        yield from _string(shape.key, key, f"{path}.{key}")
        yield from _check(shape.value, item, f"{path}.{key}")


def _string(shape: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):  # a document, which the API takes as text
        text = json.dumps(value, separators=(",", ":"))
        yield from _bounds(shape, len(text), path, "characters")
        return
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if shape.enum and text not in shape.enum:
        yield path, f"{text!r} is not one of {shape.enum}"
    yield from _bounds(shape, len(text), path, "characters")
    pattern = shape.metadata.get("pattern")
    if pattern and "{{resolve:" not in text and not _matches(pattern, text):
        yield path, f"{text!r} does not match {pattern}"


def _matches(pattern: str, text: str) -> bool:
    """Return whether a pattern, which is one of Java's, fits a text."""
    # Java names characters beyond 16 bits by pairs.
    readable = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff")
    return regex.fullmatch(readable, text) is not None


def _bounds(shape: Any, number: float, path: str, unit: str) -> Iterator[tuple[str, str]]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if (least is not None and number < least) or (most is not None and number > most):
        yield path, f"{number:g} {unit} must be {least} to {most}"
