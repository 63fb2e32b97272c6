"""The server in front of moto, which has no locks of its own."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.moto import server
from tests.support.local_cloud import Client


def test_moto_under_many_threads(client: Client) -> None:
    """While many clients write the same objects, conditions hold and the objects can be read."""
    table, bucket = "t-threads", "t-threads"
    key = [{"AttributeName": "pk", "KeyType": "HASH"}]
    attribute = [{"AttributeName": "pk", "AttributeType": "S"}]
    dynamodb, s3 = client("dynamodb"), client("s3")
    dynamodb.create_table(
        TableName=table,
        KeySchema=key,
        AttributeDefinitions=attribute,
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName=table, Item={"pk": {"S": "a"}, "left": {"N": "20"}})
    s3.create_bucket(Bucket=bucket)

    def once(_: int) -> bool:
        s3.put_object(Bucket=bucket, Key="k", Body=b"v" * 50_000)
        assert len(s3.get_object(Bucket=bucket, Key="k")["Body"].read()) == 50_000
        try:
            dynamodb.update_item(
                TableName=table,
                Key={"pk": {"S": "a"}},
                UpdateExpression="SET #l = #l - :one",
                ConditionExpression="#l > :zero",
                ExpressionAttributeNames={"#l": "left"},
                ExpressionAttributeValues={":one": {"N": "1"}, ":zero": {"N": "0"}},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(once, range(60))) == 20


def environ(service: str, body: bytes = b"", **members: str) -> dict[str, Any]:
    """Return what the server hands over for a signed POST, with more members of WSGI's."""
    scope = f"Credential=AKIA/20261130/us-east-1/{service}/aws4_request"
    return {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": "",
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 {scope}",
        "wsgi.input": io.BytesIO(body),
        **members,
    }


FORM = {"CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8"}


@pytest.mark.parametrize(
    ("service", "body", "members", "changes"),
    [
        ("iam", b"Action=PutRolePolicy&Version=2010-05-08&RoleName=Get", FORM, True),
        ("iam", b"Action=GetRolePolicy&Version=2010-05-08&RoleName=Put", FORM, False),
        ("iam", b"Action=ListRolePolicies", FORM, False),
        ("iam", b"RoleName=Put&Action=GetRolePolicy", FORM, True),  # taken for a change
        ("iam", b"", {}, True),
        ("sagemaker", b"{}", {"HTTP_X_AMZ_TARGET": "SageMaker.DescribeEndpoint"}, False),
        ("sagemaker", b"{}", {"HTTP_X_AMZ_TARGET": "SageMaker.UpdateEndpoint"}, True),
        ("events", b"{}", {"HTTP_X_AMZ_TARGET": "AWSEvents.ListRules"}, False),
        ("lambda", b"{}", {}, True),
        ("lambda", b"", {"REQUEST_METHOD": "GET"}, False),
        ("dynamodb", b"{}", {"HTTP_X_AMZ_TARGET": "DynamoDB_20120810.PutItem"}, False),
        ("s3", b"", {"QUERY_STRING": "policy"}, True),
        ("s3", b"", {"QUERY_STRING": "uploads"}, False),
    ],
)
def test_a_read_is_no_change(
    service: str, body: bytes, members: dict[str, str], *, changes: bool
) -> None:
    """What only reads brings no new version of the state. The body is left for moto."""
    found = environ(service, body, **members)
    assert server._may_change(service, found) is changes
    assert found["wsgi.input"].read() == body


def test_a_bucket_that_is_not_there_has_no_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment then says that it has found no model data there."""
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="models")
        s3.put_object(Bucket="models", Key="a/b.gguf", Body=b"12")
        monkeypatch.setattr(server, "client", lambda _: s3)
        assert server._objects("s3://models/a/") == [{"key": "a/b.gguf", "size": 2}]
        assert server._objects("s3://other/a/") == []
