"""The gate: stock boto3 with a role's temporary credentials, and what each request is held to need."""

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
from local.iam.actions import needs
from local.iam.operations import Call, Scope
from tests.support.local_cloud import Client

TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t"
LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
JSON = {"content-type": "application/x-amz-json-1.0"}


def call(service: str, method: str = "POST", path: str = "/", **members: Any) -> Call:
    """A request; `headers`, `query` and `body` among the members are what they say."""
    return Call(
        scope=Scope("ASIAX", REGION, service),
        account=ACCOUNT,
        method=method,
        host=members.get("host", "localhost:1"),
        path=path,
        query=members.get("query", {}),
        headers=members.get("headers", {}),
        body=members.get("body", b""),
    )


def operation(service: str, name: str, **members: Any) -> Call:
    """A request of a JSON protocol."""
    return call(service, headers={**JSON, "x-amz-target": f"X.{name}"}, body=json.dumps(members).encode())


def form(service: str, body: str) -> Call:
    """A request of the query protocol."""
    return call(
        service, headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, body=body.encode()
    )


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (operation("dynamodb", "PutItem", TableName="t"), [("dynamodb:PutItem", TABLE)]),
        (operation("dynamodb", "GetItem", TableName=TABLE), [("dynamodb:GetItem", TABLE)]),
        (operation("dynamodb", "Query", TableName="t", IndexName="i"), [("dynamodb:Query", f"{TABLE}/index/i")]),
        (
            operation("dynamodb", "BatchWriteItem", RequestItems={"t": [], TABLE + "2": []}),
            [("dynamodb:BatchWriteItem", TABLE), ("dynamodb:BatchWriteItem", TABLE + "2")],
        ),
        (
            operation(
                "dynamodb",
                "TransactWriteItems",
                TransactItems=[
                    {kind: {"TableName": "t"}} for kind in ("Put", "ConditionCheck", "Update", "Delete", "Put")
                ],
            ),
            [(f"dynamodb:{name}Item", TABLE) for name in ("Put", "ConditionCheck", "Update", "Delete")],
        ),
        (operation("dynamodb", "ExecuteStatement", Statement="SELECT"), None),
        (
            call("sagemaker", path="/endpoints/My-End/invocations-response-stream"),
            [("sagemaker:InvokeEndpointWithResponseStream", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/my-end")],
        ),
        (
            call("lambda", path="/2015-03-31/functions/f/invocations"),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            call("lambda", path="/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af/invocations"),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            call("lambda", path="/2015-03-31/functions/1:function:f/invocations"),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            call("lambda", path="/2015-03-31/functions/f:$LATEST/invocations"),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            call("lambda", path="/2015-03-31/functions/f:live/invocations"),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f:live")],
        ),
        (
            call("lambda", path="/2015-03-31/functions/f/invocations", query={"Qualifier": "3"}),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f:3")],
        ),
        (
            call("lambda", path="/2015-03-31/functions/f/invocations", query={"Qualifier": "$LATEST"}),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            call("sagemaker", path="/endpoints/e/invocations"),
            [("sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e")],
        ),
        (call("sagemaker", path="/endpoints/e/other"), None),
        (call("xray", path="/TraceSegments"), [("xray:PutTraceSegments", "*")]),
        (
            operation("logs", "PutLogEvents", logGroupName="/g", logStreamName="s"),
            [("logs:PutLogEvents", f"{LOGS}:/g:log-stream:s")],
        ),
        (operation("logs", "CreateLogGroup", logGroupName="/g"), [("logs:CreateLogGroup", f"{LOGS}:/g:log-stream:")]),
        (operation("cloudwatch", "PutMetricData", Namespace="n"), [("cloudwatch:PutMetricData", "*")]),
        (
            operation("ssm", "GetParameters", Names=["/a/b", "c"]),
            [("ssm:GetParameters", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name}") for name in ("a/b", "c")],
        ),
        (form("sts", "Action=GetCallerIdentity&Version=2011-06-15"), []),
        (form("sts", "Action=AssumeRole&RoleArn=arn%3Ar"), [("sts:AssumeRole", "arn:r")]),
        (form("iam", "Action=CreateRole"), None),
        (
            form("cloudformation", "Action=CreateChangeSet&StackName=s&RoleARN=arn%3Ar"),
            [
                ("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/s/*"),
                ("iam:PassRole", "arn:r"),
            ],
        ),
        (call("s3", "GET", "/b/a%20k/x"), [("s3:GetObject", "arn:aws:s3:::b/a k/x")]),
        (call("s3", "GET", "/k", host="b.localhost:1"), [("s3:GetObject", "arn:aws:s3:::b/k")]),
        (call("s3", "GET", "/b", query={"list-type": "2", "prefix": "p"}), [("s3:ListBucket", "arn:aws:s3:::b")]),
        (call("s3", "PUT", "/b/k", query={"partNumber": "1", "uploadId": "u"}), [("s3:PutObject", "arn:aws:s3:::b/k")]),
        (
            call("s3", "PUT", "/b/k", headers={"x-amz-copy-source": "/c/o%20ld?versionId=1"}),
            [("s3:PutObject", "arn:aws:s3:::b/k"), ("s3:GetObject", "arn:aws:s3:::c/o ld")],
        ),
        (
            call("s3", "POST", "/b", query={"delete": ""}, body=b"<D><Object><Key>k</Key></Object></D>"),
            [("s3:DeleteObject", "arn:aws:s3:::b/k")],
        ),
        (call("s3", "PUT", "/b", query={"policy": ""}), None),
        (call("s3", "PUT", "/b/k", query={"acl": ""}), None),
    ],
    ids=str,
)
def test_what_a_request_needs(request_: Call, expected: list[tuple[str, str]] | None) -> None:
    """Each operation needs IAM's own actions on real ARNs; of one that is not known nothing is said."""
    found = needs(request_)
    assert (None if found is None else [(need.action, need.resource) for need in found]) == expected


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("DeleteItem", {"Key": {"pk": {"S": "USAGE"}, "sk": {"S": "x"}}}),
        ("GetItem", {"Key": {"pk": {"S": "USAGE"}, "sk": {"S": "x"}}}),
        ("PutItem", {"Item": {"pk": {"S": "USAGE"}, "sk": {"S": "x"}, "n": {"N": "1"}}}),
        ("Query", {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": "USAGE"}}}),
    ],
)
def test_the_partition_of_an_item_is_known_to_policies(name: str, members: dict[str, Any]) -> None:
    """A call on items tells their partition, which policies may have a condition on."""
    [need] = needs(operation("dynamodb", name, TableName="t", **members)) or iter(())
    assert need.context == (("dynamodb:LeadingKeys", ("USAGE",)),)


class Assumed:
    """Somebody with the credentials of a role."""

    def __init__(self, cloud: LocalCloud, role: str, credentials: dict[str, Any]) -> None:
        """`role` is its name."""
        self.cloud, self.role, self.credentials = cloud, role, credentials
        self.made: list[Any] = []

    def client(self, service: str) -> Any:
        """A stock client."""
        one = boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.cloud.endpoint_url,
            aws_access_key_id=self.credentials["AccessKeyId"],
            aws_secret_access_key=self.credentials["SecretAccessKey"],
            aws_session_token=self.credentials["SessionToken"],
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        self.made.append(one)
        return one


Assume = Callable[..., Assumed]


@pytest.fixture
def assume(cloud: LocalCloud, client: Client) -> Iterator[Assume]:
    """Makes a role with statements, and gives somebody who has assumed it."""
    made: list[Assumed] = []

    def make(*statements: dict[str, Any]) -> Assumed:
        name = f"r{uuid.uuid4().hex[:8]}"
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
        iam = client("iam")
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))
        got = client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        made.append(Assumed(cloud, name, got))
        return made[-1]

    yield make
    for one in (item for assumed in made for item in assumed.made):
        one.close()


def document(*statements: dict[str, Any]) -> str:
    """A policy."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str, resource: str = "*") -> dict[str, Any]:
    """A statement."""
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.mark.parametrize(
    ("service", "method", "members", "code", "status", "action"),
    [
        ("dynamodb", "delete_item", {"TableName": "t", "Key": {}}, "AccessDeniedException", 400, "dynamodb:DeleteItem"),
        ("logs", "create_log_group", {"logGroupName": "g"}, "AccessDeniedException", 400, "logs:CreateLogGroup"),
        ("cloudwatch", "list_metrics", {}, "AccessDeniedException", 400, "cloudwatch:ListMetrics"),
        (
            "sagemaker-runtime",
            "invoke_endpoint",
            {"EndpointName": "e", "Body": b""},
            "AccessDeniedException",
            403,
            "sagemaker:InvokeEndpoint",
        ),
        ("lambda", "invoke", {"FunctionName": "f"}, "AccessDeniedException", 403, "lambda:InvokeFunction"),
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "AccessDenied", 403, "s3:GetObject"),
        ("cloudformation", "describe_stacks", {}, "AccessDenied", 403, "cloudformation:DescribeStacks"),
        ("iam", "list_roles", {}, "AccessDenied", 403, "iam:ListRoles"),
    ],
)
def test_denied_in_each_protocols_shape(
    assume: Assume, service: str, method: str, members: Any, code: str, status: int, action: str
) -> None:
    """What a role is not granted boto3 reads as AccessDenied, with caller and action; so for unknown operations."""
    with pytest.raises(ClientError) as caught:
        getattr(assume(allow("s3:ListBucket")).client(service), method)(**members)
    answer: Any = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert ":assumed-role/r" in answer["Error"]["Message"]
    assert f"is not authorized to perform: {action}" in answer["Error"]["Message"]


def test_a_change_of_policy_holds_at_once(client: Client, assume: Assume) -> None:
    """A role may do what it is granted from the moment the call that grants it returns, until one takes it away."""
    assumed = assume(allow("dynamodb:GetItem"))
    role = assumed.role
    table = {"TableName": f"t{uuid.uuid4().hex[:8]}"}
    keys = {"KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    client("dynamodb").create_table(
        **table, **keys, AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}]
    )
    api, iam = assumed.client("dynamodb"), client("iam")
    item = {"Item": {"k": {"S": "x"}}}
    for _ in range(5):
        with pytest.raises(ClientError, match="no identity-based policy allows the dynamodb:PutItem action"):
            api.put_item(**table, **item)
        iam.put_role_policy(RoleName=role, PolicyName="q", PolicyDocument=document(allow("dynamodb:Put*")))
        api.put_item(**table, **item)
        iam.delete_role_policy(RoleName=role, PolicyName="q")
    arn = iam.create_policy(PolicyName=role, PolicyDocument=document(allow("dynamodb:*")))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    api.put_item(**table, **item)
    assert assumed.client("sts").get_caller_identity()["Arn"].endswith(f":assumed-role/{role}/test")


def test_policy_of_a_bucket(client: Client, assume: Assume) -> None:
    """A bucket's policy grants to a role of its account, and its Deny of insecure transport shuts nobody out here."""
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
    """A secret that is asked for by its name is held against its whole ARN."""
    name = f"s{uuid.uuid4().hex[:8]}"
    arn = client("secretsmanager").create_secret(Name=name, SecretString="x")["ARN"]
    api = assume(allow("secretsmanager:GetSecretValue", arn)).client("secretsmanager")
    assert api.get_secret_value(SecretId=name)["SecretString"] == "x"
    with pytest.raises(ClientError, match="AccessDenied"):
        api.get_secret_value(SecretId=name + "2")


def test_functions_are_invoked_by_who_may(assume: Assume) -> None:
    """A role that may invoke a function gets through to the data plane, and to no other function."""
    api = assume(allow("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:absent")).client("lambda")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        api.invoke(FunctionName="absent", Payload=b"{}")
    with pytest.raises(ClientError, match="AccessDenied"):
        api.invoke(FunctionName="other", Payload=b"{}")


@pytest.mark.parametrize("path", ["/endpoints/e/invocations", "/2015-03-31/functions/f/invocations"])
def test_another_services_signature(cloud: LocalCloud, assume: Assume, path: str) -> None:
    """A data plane's call that is signed for another service is refused, whatever the role may do there."""
    key = assume(allow("s3:*")).credentials["AccessKeyId"]
    signed = f"AWS4-HMAC-SHA256 Credential={key}/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"
    request = urllib.request.Request(cloud.endpoint_url + path, b"{}", {"Authorization": signed})  # noqa: S310 - loopback
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)  # noqa: S310 - loopback


def test_who_is_not_known(cloud: LocalCloud) -> None:
    """A temporary key that was never given out is refused, and so is a request without a signature."""
    options = {"region_name": REGION, "endpoint_url": cloud.endpoint_url, "aws_secret_access_key": "x"}
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        boto3.client("dynamodb", aws_access_key_id="ASIAUNKNOWN", **options).list_tables()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{cloud.endpoint_url}/bucket/key")  # noqa: S310 - loopback
