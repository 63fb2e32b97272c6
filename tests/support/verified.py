"""The faults and wrong templates that make each check of `sluice verify` say refuted."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import boto3

from cli.commands.verify.target import Target
from cli.lib.admin_api import Admin
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, options
from tests.support.faults import fault
from tests.support.versions import change_function

Wrong = Callable[[LocalCloud, Target], AbstractContextManager[Any]]


def target_of(cloud: LocalCloud, deployment: Deployment) -> Target:
    """Return a deployment of a test as the command's target."""
    manager = boto3.client("secretsmanager", **options(cloud))
    outputs = deployment.outputs
    found = manager.get_secret_value(SecretId=outputs["AdminSecretArn"], VersionStage="AWSCURRENT")
    return Target(
        "local",
        deployment.name,
        outputs,
        options(cloud),
        Admin("local", outputs, deployment.origin, found["SecretString"]),
        cloud.ask("status")["function_urls"],
    )


def fails(kind: str, output: str = "FunctionName", **fields: Any) -> Wrong:
    """Return a fault of the local cloud, in the scope of one of the stack's outputs."""

    def wrong(cloud: LocalCloud, target: Target) -> AbstractContextManager[Any]:
        count = {"count": 100, **fields}
        return fault(cloud, kind=kind, scope=target.outputs[output], **count)

    return wrong


def variables(
    function: Callable[[Target], str] = lambda it: it.outputs["FunctionName"],
    **changes: str | None,
) -> Wrong:
    """Return a template whose function has other environment variables; None removes one."""

    @contextmanager
    def wrong(_: LocalCloud, target: Target) -> Iterator[None]:
        api, name = target.client("lambda"), function(target)
        before = api.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        after = {**before, **changes}
        after = {key: value for key, value in after.items() if value is not None}
        change_function(api, name, Environment={"Variables": after})
        try:
            yield
        finally:
            change_function(api, name, Environment={"Variables": before})

    return wrong


def without(action: str, role: Callable[[Target], str]) -> Wrong:
    """Return a template in which a role has no grant of an action."""

    @contextmanager
    def wrong(_: LocalCloud, target: Target) -> Iterator[None]:
        iam, name = target.client("iam"), role(target)
        policies = {
            policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
        }

        def put(policy: str, document: dict[str, Any]) -> None:
            iam.put_role_policy(
                RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document)
            )

        for policy, document in policies.items():
            kept = []
            for statement in document["Statement"]:
                listed = statement["Action"]
                actions = [listed] if isinstance(listed, str) else listed
                if rest := [one for one in actions if one != action]:
                    kept.append({**statement, "Action": rest})
            put(policy, {**document, "Statement": kept})
        try:
            yield
        finally:
            for policy, document in policies.items():
                put(policy, document)

    return wrong


@contextmanager
def another_log_group(_: LocalCloud, target: Target) -> Iterator[None]:
    """Make a group beside the stack's, as SageMaker does if it writes to one of its own."""
    logs, name = target.client("logs"), f"{target.endpoint_log}-other"
    logs.create_log_group(logGroupName=name)
    try:
        yield
    finally:
        logs.delete_log_group(logGroupName=name)


@contextmanager
def alarm_elsewhere(_: LocalCloud, target: Target) -> Iterator[None]:
    """Point an alarm at a function that is not deployed."""
    api = target.client("cloudwatch")
    names = [name.rpartition(":")[2] for name in target.physical("AWS::CloudWatch::Alarm")]
    alarm = next(
        one
        for one in api.describe_alarms(AlarmNames=names)["MetricAlarms"]
        if any(dimension["Name"] == "FunctionName" for dimension in one["Dimensions"])
    )
    known = {
        key: value
        for key, value in alarm.items()
        if key in api.meta.service_model.shape_for("PutMetricAlarmInput").members
    }
    other = [{"Name": "FunctionName", "Value": "elsewhere"}]
    api.put_metric_alarm(**{**known, "Dimensions": other})
    try:
        yield
    finally:
        api.put_metric_alarm(**known)


def distribution(change: Callable[[dict[str, Any]], None]) -> Wrong:
    """Return a template whose distribution has another configuration. It is really deployed."""

    @contextmanager
    def wrong(_: LocalCloud, target: Target) -> Iterator[None]:
        api = target.client("cloudformation")
        before = api.get_template(StackName=target.stack)["TemplateBody"]
        after = copy.deepcopy(before)
        [resource] = [
            one
            for one in after["Resources"].values()
            if one["Type"] == "AWS::CloudFront::Distribution"
        ]
        change(resource["Properties"]["DistributionConfig"])
        _update(target, after)
        try:
            yield
        finally:
            _update(target, before)

    return wrong


def _update(target: Target, template: dict[str, Any]) -> None:
    """Update the stack to a template, which is too large to be sent itself."""
    api, s3, stack = target.client("cloudformation"), target.client("s3"), target.stack
    s3.create_bucket(Bucket="wrong-templates")
    body = json.dumps(template, separators=(",", ":")).encode()
    s3.put_object(Bucket="wrong-templates", Key="template.json", Body=body)
    parameters = [
        {"ParameterKey": name, "UsePreviousValue": True} for name in template.get("Parameters", {})
    ]
    api.update_stack(
        StackName=stack,
        TemplateURL=f"https://s3.{s3.meta.region_name}.amazonaws.com/wrong-templates/template.json",
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    )
    while (found := api.describe_stacks(StackName=stack)["Stacks"][0])["StackStatus"].endswith(
        "_IN_PROGRESS"
    ):
        pass  # each call waits for up to 5 s
    assert found["StackStatus"] == "UPDATE_COMPLETE"


def error_page(config: dict[str, Any]) -> None:
    """Configure the distribution's own page for a 404."""
    page = {"ErrorCode": 404, "ResponsePagePath": "/v1/openapi.json", "ResponseCode": 404}
    config["CustomErrorResponses"] = [page]


def other_secret(config: dict[str, Any]) -> None:
    """Configure a secret that no function has."""
    for origin in config["Origins"]:
        for header in origin.get("OriginCustomHeaders", []):
            header["HeaderValue"] = "a" * 48


def page_without_headers(config: dict[str, Any]) -> None:
    """Serve the playground without the policy that adds its headers."""
    for behavior in config["CacheBehaviors"]:
        if behavior["PathPattern"] in ("/", "/index.html"):
            del behavior["ResponseHeadersPolicyId"]


def forged_viewer(config: dict[str, Any]) -> None:
    """Configure a fixed address as that of the viewer."""
    for origin in config["Origins"]:
        header = {"HeaderName": "X-Forwarded-For", "HeaderValue": "203.0.113.9"}
        origin["OriginCustomHeaders"] = [*origin.get("OriginCustomHeaders", []), header]


def _control(target: Target) -> str:
    [name] = target.physical("AWS::Lambda::Function", "ControlFunction")
    return name


_OTHER_SECRETS = {"SLUICE_ORIGIN_SECRET": "a" * 48, "SLUICE_ORIGIN_SECRET_PREVIOUS": "b" * 48}
WRONG: dict[str, Wrong] = {
    "wrapper": variables(AWS_LAMBDA_EXEC_WRAPPER=None),
    "unbuffered": fails("joined-parts", "EndpointName", after=16),
    "heartbeat": fails("function-killed-in-response", after=400),
    "cancelled-status": fails("function-killed-at-response"),
    "origin-secret": distribution(other_secret),
    "errors": distribution(error_page),
    "page": distribution(page_without_headers),
    "admin-secret": variables(_control, **_OTHER_SECRETS),
    "networks": distribution(forged_viewer),
    "leading-keys": without("dynamodb:Query", lambda it: it.role_of(it.outputs["FunctionName"])),
    "admin-grants": without(
        "dynamodb:PutItem", lambda it: it.role_of(it.outputs["AdminKeysFunctionName"])
    ),
    "kept-answers": without(
        "dynamodb:GetItem", lambda it: it.role_of(it.outputs["RecallFunctionName"])
    ),
    "attribute-grants": without(
        "dynamodb:UpdateItem", lambda it: it.role_of(it.outputs["RecallFunctionName"])
    ),
    "webhook": without(
        "secretsmanager:GetSecretValue",
        lambda it: it.role_of(it.outputs["BackgroundFunctionName"]),
    ),
    "meter": fails(
        "caller-killed-before",
        "UsageTableName",
        operation="UpdateItem",
        containing='"SETTLED"',
        seconds=0.1,
    ),
    "throttle": fails("table-down", "UsageTableName", operation="UpdateItem"),
    "log-group": another_log_group,
    "alarms": alarm_elsewhere,
}
"""What makes each check refuted that the local cloud can prove, by the check's id."""
