"""The IAM actions and ARNs that a request needs."""

import json
from typing import Any

import pytest

from local.cloud import ACCOUNT, REGION
from local.iam.actions import needs
from local.iam.operations import Call, Scope

TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t"


LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"


JSON = {"content-type": "application/x-amz-json-1.0"}


def call(service: str, method: str = "POST", path: str = "/", **members: Any) -> Call:
    """Return a request with these members.

    `headers`, `query` and `body` replace the defaults.
    """
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
    """Return a request of a JSON protocol."""
    return call(
        service, headers={**JSON, "x-amz-target": f"X.{name}"}, body=json.dumps(members).encode()
    )


def form(service: str, body: str) -> Call:
    """Return a request of the query protocol."""
    return call(
        service,
        headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
        body=body.encode(),
    )


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (operation("dynamodb", "PutItem", TableName="t"), [("dynamodb:PutItem", TABLE)]),
        (operation("dynamodb", "GetItem", TableName=TABLE), [("dynamodb:GetItem", TABLE)]),
        (
            operation("dynamodb", "Query", TableName="t", IndexName="i"),
            [("dynamodb:Query", f"{TABLE}/index/i")],
        ),
        (
            operation("dynamodb", "BatchGetItem", RequestItems={"t": {"Keys": []}}),
            [("dynamodb:BatchGetItem", TABLE)],
        ),
        (
            operation("dynamodb", "BatchWriteItem", RequestItems={"t": [], TABLE + "2": []}),
            [("dynamodb:BatchWriteItem", TABLE), ("dynamodb:BatchWriteItem", TABLE + "2")],
        ),
        (
            operation(
                "dynamodb",
                "TransactWriteItems",
                TransactItems=[
                    {kind: {"TableName": "t"}}
                    for kind in ("Put", "ConditionCheck", "Update", "Delete", "Put")
                ],
            ),
            [
                (f"dynamodb:{name}Item", TABLE)
                for name in ("Put", "ConditionCheck", "Update", "Delete")
            ],
        ),
        (operation("dynamodb", "ExecuteStatement", Statement="SELECT"), None),
        (
            call("sagemaker", path="/endpoints/My-End/invocations-response-stream"),
            [
                (f"sagemaker:{name}", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/my-end")
                for name in ("InvokeEndpoint", "InvokeEndpointWithResponseStream")
            ],
        ),
        (
            call("lambda", path="/2015-03-31/functions/f/invocations"),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            call(
                "lambda",
                path="/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af/invocations",
            ),
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
            call(
                "lambda", path="/2015-03-31/functions/f/invocations", query={"Qualifier": "$LATEST"}
            ),
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            call("sagemaker", path="/endpoints/e/invocations"),
            [("sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e")],
        ),
        (call("sagemaker", path="/endpoints/e/other"), None),
        (
            call("bedrock", path="/guardrail/a1/version/2/apply"),
            [("bedrock:ApplyGuardrail", f"arn:aws:bedrock:{REGION}:{ACCOUNT}:guardrail/a1")],
        ),
        (call("xray", path="/TraceSegments"), [("xray:PutTraceSegments", "*")]),
        (call("cloudwatch", path="/v1/metrics"), [("cloudwatch:PutMetricData", "*")]),
        (call("cloudwatch", path="/v1/other"), None),
        (
            operation("logs", "PutLogEvents", logGroupName="/g", logStreamName="s"),
            [("logs:PutLogEvents", f"{LOGS}:/g:log-stream:s")],
        ),
        (
            operation("logs", "CreateLogGroup", logGroupName="/g"),
            [("logs:CreateLogGroup", f"{LOGS}:/g:log-stream:")],
        ),
        (
            operation("cloudwatch", "PutMetricData", Namespace="n"),
            [("cloudwatch:PutMetricData", "*")],
        ),
        (
            form("sns", "Action=Publish&TopicArn=arn:aws:sns:r:1:t&Message=m"),
            [("sns:Publish", "arn:aws:sns:r:1:t")],
        ),
        (form("sns", "Action=DeleteTopic&TopicArn=arn:aws:sns:r:1:t"), None),
        (
            operation("ssm", "GetParameters", Names=["/a/b", "c"]),
            [
                ("ssm:GetParameters", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name}")
                for name in ("a/b", "c")
            ],
        ),
        (form("sts", "Action=GetCallerIdentity&Version=2011-06-15"), []),
        (form("sts", "Action=AssumeRole&RoleArn=arn%3Ar"), [("sts:AssumeRole", "arn:r")]),
        (form("iam", "Action=CreateRole"), None),
        (
            form("cloudformation", "Action=CreateChangeSet&StackName=s&RoleARN=arn%3Ar"),
            [
                (
                    "cloudformation:CreateChangeSet",
                    f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/s/*",
                ),
                ("iam:PassRole", "arn:r"),
            ],
        ),
        (call("s3", "GET", "/b/a%20k/x"), [("s3:GetObject", "arn:aws:s3:::b/a k/x")]),
        (call("s3", "GET", "/k", host="b.localhost:1"), [("s3:GetObject", "arn:aws:s3:::b/k")]),
        (
            call("s3", "GET", "/b", query={"list-type": "2", "prefix": "p"}),
            [("s3:ListBucket", "arn:aws:s3:::b")],
        ),
        (
            call("s3", "PUT", "/b/k", query={"partNumber": "1", "uploadId": "u"}),
            [("s3:PutObject", "arn:aws:s3:::b/k")],
        ),
        (
            call("s3", "PUT", "/b/k", headers={"x-amz-copy-source": "/c/o%20ld?versionId=1"}),
            [("s3:PutObject", "arn:aws:s3:::b/k"), ("s3:GetObject", "arn:aws:s3:::c/o ld")],
        ),
        (
            call(
                "s3",
                "POST",
                "/b",
                query={"delete": ""},
                body=b"<D><Object><Key>k</Key></Object></D>",
            ),
            [("s3:DeleteObject", "arn:aws:s3:::b/k")],
        ),
        (call("s3", "PUT", "/b", query={"policy": ""}), None),
        (call("s3", "PUT", "/b/k", query={"acl": ""}), None),
    ],
    ids=str,
)
def test_what_a_request_needs(request_: Call, expected: list[tuple[str, str]] | None) -> None:
    """Each operation needs IAM's own actions on real ARNs.

    For an unknown one nothing is returned.
    """
    needed = needs(request_)
    assert (
        None if needed is None else [(need.action, need.resource) for need in needed]
    ) == expected


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("DeleteItem", {"Key": {"pk": {"S": "USAGE"}, "sk": {"S": "x"}}}),
        ("GetItem", {"Key": {"pk": {"S": "USAGE"}, "sk": {"S": "x"}}}),
        ("PutItem", {"Item": {"pk": {"S": "USAGE"}, "sk": {"S": "x"}, "n": {"N": "1"}}}),
        (
            "Query",
            {
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": "USAGE"}},
            },
        ),
    ],
)
def test_the_partition_of_an_item_is_known_to_policies(name: str, members: dict[str, Any]) -> None:
    """A call on items has their partition, for conditions of policies."""
    [need] = needs(operation("dynamodb", name, TableName="t", **members)) or iter(())
    assert dict(need.context)["dynamodb:LeadingKeys"] == ("USAGE",)


def test_the_attributes_of_a_call_are_known_to_policies() -> None:
    """They are the top-level ones that its key, item and expressions name; values are none."""
    request = operation(
        "dynamodb",
        "UpdateItem",
        TableName="t",
        Key={"pk": {"S": "KEY#a"}, "sk": {"S": "ACCOUNT"}},
        UpdateExpression="SET balance.#w = if_not_exists(balance.#w, :limit) - :one REMOVE #old, l[3]",
        ConditionExpression="attribute_exists(enabled) AND size(m.size) < :one AND #old IN (:a)",
        ExpressionAttributeNames={"#w": "requests#2026", "#old": "old_secrets"},
        ReturnValues="ALL_NEW",
    )
    [need] = needs(request) or []
    assert dict(need.context) == {
        "dynamodb:LeadingKeys": ("KEY#a",),
        "dynamodb:Attributes": ("balance", "enabled", "l", "m", "old_secrets", "pk", "sk"),
        "dynamodb:ReturnValues": ("ALL_NEW",),
    }
    asked = {
        "Keys": [{"pk": {"S": it}, "sk": {"S": "HEAD"}} for it in ("R#b", "R#a", "R#b")],
        "ProjectionExpression": "#0, lease",
        "ExpressionAttributeNames": {"#0": "status"},
    }
    [need] = needs(operation("dynamodb", "BatchGetItem", RequestItems={"t": asked})) or []
    assert dict(need.context) == {
        "dynamodb:LeadingKeys": ("R#a", "R#b"),
        "dynamodb:Attributes": ("lease", "pk", "sk", "status"),
    }
    item = {name: {"S": "x"} for name in ("pk", "sk", "secret_hash")}
    [need] = needs(operation("dynamodb", "PutItem", TableName="t", Item=item)) or []
    assert dict(need.context)["dynamodb:Attributes"] == ("pk", "secret_hash", "sk")
