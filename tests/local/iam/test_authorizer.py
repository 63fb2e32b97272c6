"""The authorizer, called by stock boto3 with a role's temporary credentials."""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.cloud import ACCOUNT, REGION, LocalCloud
from tests.support.local_cloud import Client


class Assumed:
    """A holder of a role's credentials."""

    def __init__(self, cloud: LocalCloud, role: str, credentials: dict[str, Any]) -> None:
        """Assume the role with the name `role`."""
        self.cloud, self.role, self.credentials = cloud, role, credentials
        self.made: list[Any] = []

    def client(self, service: str) -> Any:
        """Return a stock client."""
        client_ = boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.cloud.endpoint_url,
            aws_access_key_id=self.credentials["AccessKeyId"],
            aws_secret_access_key=self.credentials["SecretAccessKey"],
            aws_session_token=self.credentials["SessionToken"],
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        self.made.append(client_)
        return client_


Assume = Callable[..., Assumed]


@pytest.fixture
def assume(cloud: LocalCloud, client: Client) -> Iterator[Assume]:
    """Return a function that creates a role with statements.

    It returns a holder of the role's credentials.
    """
    sessions: list[Assumed] = []

    def make(*statements: dict[str, Any]) -> Assumed:
        name = f"r{uuid.uuid4().hex[:8]}"
        trust = {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "lambda.amazonaws.com"},
        }
        iam = client("iam")
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"][
            "Arn"
        ]
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))
        credentials = client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        sessions.append(Assumed(cloud, name, credentials))
        return sessions[-1]

    yield make
    for client_ in (item for assumed in sessions for item in assumed.made):
        client_.close()


def document(*statements: dict[str, Any]) -> str:
    """Return a policy."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str, resource: str = "*") -> dict[str, Any]:
    """Return a statement."""
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.mark.parametrize(
    ("service", "method", "members", "code", "status", "action"),
    [
        (
            "dynamodb",
            "delete_item",
            {"TableName": "t", "Key": {}},
            "AccessDeniedException",
            400,
            "dynamodb:DeleteItem",
        ),
        (
            "logs",
            "create_log_group",
            {"logGroupName": "g"},
            "AccessDeniedException",
            400,
            "logs:CreateLogGroup",
        ),
        ("cloudwatch", "list_metrics", {}, "AccessDeniedException", 400, "cloudwatch:ListMetrics"),
        (
            "sagemaker-runtime",
            "invoke_endpoint",
            {"EndpointName": "e", "Body": b""},
            "AccessDeniedException",
            403,
            "sagemaker:InvokeEndpoint",
        ),
        (
            "lambda",
            "invoke",
            {"FunctionName": "f"},
            "AccessDeniedException",
            403,
            "lambda:InvokeFunction",
        ),
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "AccessDenied", 403, "s3:GetObject"),
        (
            "cloudformation",
            "describe_stacks",
            {},
            "AccessDenied",
            403,
            "cloudformation:DescribeStacks",
        ),
        ("iam", "list_roles", {}, "AccessDenied", 403, "iam:ListRoles"),
    ],
)
def test_denied_in_each_protocols_shape(
    assume: Assume, service: str, method: str, members: Any, code: str, status: int, action: str
) -> None:
    """boto3 reads a denial as AccessDenied with caller and action, in each protocol.

    A call of an unknown operation is denied in the same way.
    """
    with pytest.raises(ClientError) as caught:
        getattr(assume(allow("s3:ListBucket")).client(service), method)(**members)
    response: Any = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (
        code,
        status,
    )
    assert ":assumed-role/r" in response["Error"]["Message"]
    assert f"is not authorized to perform: {action}" in response["Error"]["Message"]


def test_a_change_of_policy_holds_at_once(client: Client, assume: Assume) -> None:
    """A change of a role's policy takes effect as soon as the call returns."""
    assumed = assume(allow("dynamodb:GetItem"))
    role = assumed.role
    table = {"TableName": f"t{uuid.uuid4().hex[:8]}"}
    keys = {
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    client("dynamodb").create_table(
        **table, **keys, AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}]
    )
    api, iam = assumed.client("dynamodb"), client("iam")
    item = {"Item": {"k": {"S": "x"}}}
    for _ in range(5):
        with pytest.raises(
            ClientError, match="no identity-based policy allows the dynamodb:PutItem action"
        ):
            api.put_item(**table, **item)
        iam.put_role_policy(
            RoleName=role, PolicyName="q", PolicyDocument=document(allow("dynamodb:Put*"))
        )
        api.put_item(**table, **item)
        iam.delete_role_policy(RoleName=role, PolicyName="q")
    arn = iam.create_policy(PolicyName=role, PolicyDocument=document(allow("dynamodb:*")))[
        "Policy"
    ]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    api.put_item(**table, **item)
    assert assumed.client("sts").get_caller_identity()["Arn"].endswith(f":assumed-role/{role}/test")


def test_policy_of_a_bucket(client: Client, assume: Assume) -> None:
    """A bucket's policy grants access to a role of its account.

    Its Deny of insecure transport denies no request here.
    """
    s3, bucket = client("s3"), f"b{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a b", Body=b"text")
    api = assume(allow("s3:ListBucket")).client("s3")
    with pytest.raises(ClientError, match="AccessDenied"):
        api.get_object(Bucket=bucket, Key="a b")
    insecure = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}, "Effect": "Deny"}
    grant = {**allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*"), "Principal": "*"}
    s3.put_bucket_policy(Bucket=bucket, Policy=document(grant, {**grant, **insecure}))
    assert api.get_object(Bucket=bucket, Key="a b")["Body"].read() == b"text"


def test_secret_by_name(client: Client, assume: Assume) -> None:
    """A secret that a request names is compared by its whole ARN."""
    name = f"s{uuid.uuid4().hex[:8]}"
    arn = client("secretsmanager").create_secret(Name=name, SecretString="x")["ARN"]
    api = assume(allow("secretsmanager:GetSecretValue", arn)).client("secretsmanager")
    assert api.get_secret_value(SecretId=name)["SecretString"] == "x"
    with pytest.raises(ClientError, match="AccessDenied"):
        api.get_secret_value(SecretId=name + "2")


def test_functions_are_invoked_by_who_may(assume: Assume) -> None:
    """A role that may invoke a function reaches that one on the data plane, and no other."""
    api = assume(
        allow("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:absent")
    ).client("lambda")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        api.invoke(FunctionName="absent", Payload=b"{}")
    with pytest.raises(ClientError, match="AccessDenied"):
        api.invoke(FunctionName="other", Payload=b"{}")


@pytest.mark.parametrize(
    "path", ["/endpoints/e/invocations", "/2015-03-31/functions/f/invocations"]
)
def test_another_services_signature(cloud: LocalCloud, assume: Assume, path: str) -> None:
    """A data plane's call that is signed for another service is rejected.

    The role may have all rights there.
    """
    key = assume(allow("s3:*")).credentials["AccessKeyId"]
    signed = (
        f"AWS4-HMAC-SHA256 Credential={key}/20260101/{REGION}/s3/aws4_request, "
        "SignedHeaders=host, Signature=0"
    )
    request = urllib.request.Request(cloud.endpoint_url + path, b"{}", {"Authorization": signed})  # noqa: S310 - loopback
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)  # noqa: S310 - loopback
