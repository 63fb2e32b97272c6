"""Least privilege: each grant of the deployed roles is taken out by an IAM call, and something is seen to be denied."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import httpx
import pytest

from local.cloud import LocalCloud
from tests.e2e.conftest import Deployment, options

pytestmark = pytest.mark.e2e

Grant = tuple[str, str]
Document = dict[str, Any]

# AWS does these itself, on behalf of the role and outside the function's process or the container's. The local cloud
# does not do them as the role, so that nothing can be seen to fail: these grants rest on the documentation.
_LOGS = {
    "logs:CreateLogStream": "Lambda opens the environment's log stream",
    "logs:PutLogEvents": "Lambda writes the function's output there",
}
NOT_EXERCISED = {
    "Sweeper": _LOGS,
    "Control": _LOGS,
    "ControlSecretRotation": _LOGS,
    "Stream": {
        **_LOGS,
        "xray:PutTraceSegments": "Lambda's daemon sends the traces of active tracing",
        "xray:PutTelemetryRecords": "Lambda's daemon reports on itself",
    },
    "Model": {
        "logs:CreateLogGroup": "SageMaker makes the endpoint's log group",
        "logs:CreateLogStream": "SageMaker opens the container's log stream",
        "logs:DescribeLogStreams": "SageMaker looks for the container's log stream",
        "logs:PutLogEvents": "SageMaker writes the container's output there",
        "cloudwatch:PutMetricData": "SageMaker publishes the instances' metrics",
        # The container is a process here, so that nothing is pulled.
        "ecr:GetAuthorizationToken": "SageMaker logs in to the registry",
        "ecr:BatchCheckLayerAvailability": "SageMaker pulls the image",
        "ecr:BatchGetImage": "SageMaker pulls the image",
        "ecr:GetDownloadUrlForLayer": "SageMaker pulls the image",
    },
}


class Deployed:
    """The deployed roles and what they may."""

    def __init__(self, cloud: LocalCloud, deployment: Deployment) -> None:
        """Read the template and the roles."""
        self.cloud, self.deployment = cloud, deployment
        self.iam = boto3.client("iam", **options(cloud))
        cloudformation = boto3.client("cloudformation", **options(cloud))
        self.stack = f"{deployment.name}-local-service"
        template = cloudformation.get_template(StackName=self.stack, TemplateStage="Original")["TemplateBody"]
        self.template = template if isinstance(template, dict) else json.loads(template)
        found = cloudformation.describe_stack_resources(StackName=self.stack)["StackResources"]
        self.physical = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in found}

    def roles(self) -> dict[str, Document]:
        """Give the policy document of each role that the template makes, with its grants resolved, by the role."""
        found = {}
        for resource in self.template["Resources"].values():
            if resource["Type"] == "AWS::IAM::Policy":
                properties = resource["Properties"]
                [role] = [self.physical[item["Ref"]] for item in properties["Roles"]]
                [name] = self.iam.list_role_policies(RoleName=role)["PolicyNames"]
                document = self.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                # What is deployed is what was synthesised: as many grants, and the same actions.
                assert [item["Action"] for item in document["Statement"]] == [
                    item["Action"] for item in properties["PolicyDocument"]["Statement"]
                ]
                found[role] = document
        return found

    @contextmanager
    def without(self, role: str, document: Document, grant: Grant) -> Iterator[None]:
        """Take one grant out of the deployed role, then put it back."""
        [name] = self.iam.list_role_policies(RoleName=role)["PolicyNames"]
        reduced = {**document, "Statement": [part for item in document["Statement"] for part in split(item, grant)]}
        self.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(reduced))
        try:
            yield
        finally:
            self.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    def denials(self) -> list[str]:
        """Give what the local cloud has refused so far."""
        log = (self.cloud.directory / "logs" / "cloud.log").read_text()
        return [line for line in log.splitlines() if "AccessDenied: User:" in line]


def listed(value: Any) -> list[Any]:
    """Give a value, which may be a list, as a list."""
    return value if isinstance(value, list) else [value]


def grants(document: Document) -> list[Grant]:
    """Give each action with each resource of each statement."""
    return [
        (action, resource)
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    ]


def split(statement: Document, grant: Grant) -> list[Document]:
    """Give a statement as one for each grant in it, less one grant."""
    pairs = grants({"Statement": [statement]})
    return [{**statement, "Action": one[0], "Resource": one[1]} for one in pairs if one != grant]


@pytest.fixture(scope="module")
def deployed(cloud: LocalCloud, scripted: Deployment) -> Deployed:
    """Give the roles of the deployment with the scripted engine."""
    return Deployed(cloud, scripted)


def role_of(deployed: Deployed, owner: str) -> tuple[str, Document]:
    """Give the role that a construct of the stack made, by its logical id."""
    for name, resource in deployed.template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role" and re.fullmatch(f"{owner}Role[0-9A-F]{{8}}", name):
            role = deployed.physical[name]
            return role, deployed.roles()[role]
    raise AssertionError(owner)


def check_each(deployed: Deployed, owner: str, use: Callable[[], bool], skip: Collection[str] = ()) -> list[str]:
    """Take out each grant in turn: `use` works before, is denied just that, and works after. Gives those exercised."""
    role, document = role_of(deployed, owner)
    assert use()
    exercised = []
    for action, resource in grants(document):
        if action in NOT_EXERCISED[owner] or action in skip:
            continue
        before = len(deployed.denials())
        with deployed.without(role, document, (action, resource)):
            worked = use()
        denials = deployed.denials()[before:]
        assert not worked, f"{action} on {resource} can be taken away from {role}, and nothing breaks"
        assert denials
        assert all(f"perform: {action} on resource:" in line for line in denials), denials
        assert all(f":assumed-role/{role}/" in line for line in denials)
        exercised.append(action)
        assert use()
    return exercised


def test_function_has_no_grant_too_many(deployed: Deployed) -> None:
    """Without any one of its grants the stream function does not serve a request, and that very action is denied."""
    message = json.dumps({"say": ["hi"]})
    body = {"model": deployed.deployment.model, "messages": [{"role": "user", "content": message}]}
    headers = {"authorization": f"Bearer {deployed.deployment.key}"}

    def use() -> bool:
        url = f"{deployed.deployment.origin}/v1/chat/completions"
        answer = httpx.post(url, json=body, headers=headers, timeout=60)
        assert answer.status_code in {200, 502, 503}, answer.text
        return answer.status_code == 200

    exercised = check_each(deployed, "Stream", use, skip={"dynamodb:Query"})  # of /v1/usage
    assert sorted(exercised) == [
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "sagemaker:InvokeEndpointWithResponseStream",
    ]


def test_container_has_no_grant_too_many(cloud: LocalCloud, deployed: Deployed) -> None:
    """Without any one of its grants on the weights the endpoint's role brings no container up."""
    api = boto3.client("sagemaker", **options(cloud))
    name = deployed.deployment.outputs["EndpointName"]
    config = api.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    variants = api.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]

    def use() -> bool:
        api.create_endpoint_config(EndpointConfigName="again", ProductionVariants=variants)
        api.create_endpoint(EndpointName="again", EndpointConfigName="again")
        status = "Creating"
        while status == "Creating":
            found = api.describe_endpoint(EndpointName="again")
            status = found["EndpointStatus"]
        api.delete_endpoint(EndpointName="again")
        api.delete_endpoint_config(EndpointConfigName="again")
        assert status == "InService" or "Could not access model data" in found["FailureReason"]
        return bool(status == "InService")

    assert sorted(check_each(deployed, "Model", use)) == ["s3:GetObject", "s3:ListBucket"]


def test_function_url_needs_both_permissions(cloud: LocalCloud, deployed: Deployed) -> None:
    """Without either statement of the function's own policy its URL is closed: 403, before the function."""
    api = boto3.client("lambda", **options(cloud))
    function = deployed.deployment.outputs["FunctionName"]
    url = f"{deployed.deployment.origin}/v1/models"
    headers = {"authorization": f"Bearer {deployed.deployment.key}"}
    statements = json.loads(api.get_policy(FunctionName=function)["Policy"])["Statement"]
    assert sorted(item["Action"] for item in statements) == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]
    for statement in statements:
        assert httpx.get(url, headers=headers).status_code == 200
        api.remove_permission(FunctionName=function, StatementId=statement["Sid"])
        answer = httpx.get(url, headers=headers)
        assert (answer.status_code, "Forbidden" in answer.json()["Message"]) == (403, True)
        condition = {
            name: statement[name] for name in ("FunctionUrlAuthType", "InvokedViaFunctionUrl") if name in statement
        }
        given = {"Action": statement["Action"], "Principal": "*", **condition}
        api.add_permission(FunctionName=function, StatementId=statement["Sid"], **given)
    assert httpx.get(url, headers=headers).status_code == 200


def test_every_role_is_looked_at(deployed: Deployed) -> None:
    """No role of the stack is left out, and what is named as not exercised is granted: nothing stale hides there."""
    assert len(deployed.roles()) == len(NOT_EXERCISED)
    for owner, reasons in NOT_EXERCISED.items():
        _, document = role_of(deployed, owner)
        assert reasons.keys() <= {action for action, _ in grants(document)}
