"""Secrets and bucket policies that templates deploy, read with boto3."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_cloud import Client, Stacks
from tests.support.resources import ROLE, function


def test_secrets_and_dynamic_references(client: Client, stacks: Stacks) -> None:
    """A generated secret reaches other resources by dynamic references, which are all resolved."""

    def template(length: int) -> dict[str, Any]:
        reference = {
            "Fn::Join": ["", ["{{resolve:secretsmanager:", {"Ref": "Secret"}, ":SecretString:::}}"]]
        }
        field = {"Fn::Sub": "{{resolve:secretsmanager:${Json}:SecretString:password}}"}
        return {
            "Secret": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {
                    "GenerateSecretString": {"PasswordLength": length, "ExcludePunctuation": True}
                },
            },
            "Json": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {
                    "GenerateSecretString": {
                        "SecretStringTemplate": '{"user":"u"}',
                        "GenerateStringKey": "password",
                        "ExcludePunctuation": True,
                    }
                },
            },
            "Given": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {"SecretString": "given"},
            },
            "Parameter": {
                "Type": "AWS::SSM::Parameter",
                "Properties": {"Type": "String", "Value": "pv", "Name": "/p/v"},
            },
            "Role": ROLE,
            "Function": {
                **function(
                    Environment={
                        "Variables": {
                            "A": reference,
                            "B": field,
                            "C": "x{{resolve:ssm:/p/v}}y",
                            "D": {"Ref": "Given"},
                        }
                    }
                ),
                "DependsOn": ["Parameter"],
            },
        }

    outputs = {"Function": {"Ref": "Function"}, "Secret": {"Ref": "Secret"}}
    stack = stacks.create(template(40), outputs)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    returned = stacks.outputs(stack)

    def variables() -> dict[str, str]:
        response = client("lambda").get_function_configuration(FunctionName=returned["Function"])
        assert "{{resolve" not in json.dumps(response, default=str)
        return dict(response["Environment"]["Variables"])

    value = client("secretsmanager").get_secret_value(SecretId=returned["Secret"])["SecretString"]
    first = variables()
    assert len(value) == 40
    assert first["A"] == value
    assert len(first["B"]) == 32
    assert first["C"] == "xpvy"
    assert first["D"].startswith("arn:aws:secretsmanager:")

    stacks.update(stack, template(40) | {"Other": ROLE}, outputs)
    assert variables() == first
    stacks.update(stack, template(20), outputs)
    assert len(variables()["A"]) == 20
    stacks.delete(stack)
    with pytest.raises(ClientError):
        client("secretsmanager").get_secret_value(SecretId=returned["Secret"])


def test_bucket_policy(client: Client, stacks: Stacks) -> None:
    """A bucket's policy is put, changed and removed. Its conditions do not deny every request."""

    def template(sid: str | None) -> dict[str, Any]:
        statement = {
            "Sid": sid,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": {"Fn::GetAtt": ["Bucket", "Arn"]},
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {
                "Bucket": {"Ref": "Bucket"},
                "PolicyDocument": {"Statement": [statement]},
            },
        }
        return {"Bucket": {"Type": "AWS::S3::Bucket"}, **({"Policy": policy} if sid else {})}

    stack = stacks.create(template("one"), {"Bucket": {"Ref": "Bucket"}})
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    bucket = stacks.outputs(stack)["Bucket"]
    api = client("s3")
    assert '"one"' in api.get_bucket_policy(Bucket=bucket)["Policy"]
    api.put_object(Bucket=bucket, Key="k", Body=b"v" * 100_000)
    assert api.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v" * 100_000
    api.delete_object(Bucket=bucket, Key="k")
    stacks.update(stack, template("two"))
    assert '"two"' in api.get_bucket_policy(Bucket=bucket)["Policy"]
    stacks.update(stack, template(None))
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        api.get_bucket_policy(Bucket=bucket)
