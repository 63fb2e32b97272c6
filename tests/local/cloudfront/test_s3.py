"""Distributions with static files: buckets as origins, and error pages."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local.cloud import ACCOUNT
from local.cloudfront.behaviours import ConfigError, behaviours
from local.cloudfront.s3 import allows
from tests.support.local_cloud import Client, Stacks

BUCKET = "sluice-static-files"
ID = "E123"
SOURCE = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{ID}"


def _statement(**changed: Any) -> dict[str, Any]:
    """Return CDK's own statement for an origin access control."""
    return {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Resource": "arn:aws:s3:::b/*",
        "Condition": {"StringEquals": {"AWS:SourceArn": SOURCE}},
        **changed,
    }


@pytest.mark.parametrize(
    ("changed", "signed", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"Principal": "*", "Condition": {}}, False, True),
        ({"Principal": {"Service": "other.amazonaws.com"}}, True, False),
        ({"Action": ["s3:PutObject", "s3:List*"]}, True, False),
        ({"Action": "s3:get*"}, True, True),
        ({"Resource": "arn:aws:s3:::b/other/*"}, True, False),
        ({"Condition": {"StringEquals": {"AWS:SourceArn": SOURCE + "4"}}}, True, False),
        ({"Effect": "Deny", "Principal": "*", "Condition": {}}, True, False),
        ({"Effect": "Deny", "Principal": "*", "Resource": "arn:aws:s3:::b/other/*"}, True, True),
        (
            {
                "Effect": "Deny",
                "Principal": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            True,
            True,
        ),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, True, False),
    ],
)
def test_who_may_read_a_bucket(changed: dict[str, Any], signed: bool, expected: bool) -> None:
    """The bucket's policy decides what a distribution may read.

    A distribution that signs reads as itself, and one that does not reads anonymously.
    """
    statement = {"Sid": "Also", **_statement(**changed)}
    policy = {"Statement": [_statement(), statement] if changed.get("Effect") else [statement]}
    assert (
        allows(policy, "s3:GetObject", "arn:aws:s3:::b/a.html", distribution=ID, signed=signed)
        is expected
    )


@pytest.mark.parametrize("name", ["OriginAccessControlId", "ResponseHeadersPolicyId"])
def test_references_that_lead_nowhere(name: str) -> None:
    """An origin access control or response headers policy that does not exist is an error."""
    origin = {"Id": "o", "DomainName": f"{BUCKET}.s3.us-east-1.amazonaws.com", "S3OriginConfig": {}}
    behaviour = {"TargetOriginId": "o"}
    (origin if name.startswith("Origin") else behaviour)[name] = "none"
    with pytest.raises(ConfigError):
        behaviours({"Origins": [origin], "DefaultCacheBehavior": behaviour}, {})


def _template(*, allowed: bool) -> dict[str, Any]:
    origin = {
        "Id": "o",
        "DomainName": {"Fn::GetAtt": ["Bucket", "RegionalDomainName"]},
        "S3OriginConfig": {"OriginAccessIdentity": ""},
        "OriginAccessControlId": {"Fn::GetAtt": ["Access", "Id"]},
    }
    config = {
        "Enabled": True,
        "DefaultRootObject": "index.html",
        "Origins": [origin],
        "DefaultCacheBehavior": {
            "TargetOriginId": "o",
            "ViewerProtocolPolicy": "https-only",
            "ResponseHeadersPolicyId": {"Ref": "Headers"},
        },
        "CustomErrorResponses": [
            {"ErrorCode": 403, "ResponseCode": 404, "ResponsePagePath": "/lost.html"}
        ],
    }
    access = {
        "Name": "a",
        "OriginAccessControlOriginType": "s3",
        "SigningBehavior": "always",
        "SigningProtocol": "sigv4",
    }
    added = {"Items": [{"Header": "X-Own", "Value": "yes", "Override": True}]}
    statement = _statement(
        Resource={"Fn::Join": ["", [{"Fn::GetAtt": ["Bucket", "Arn"]}, "/*"]]},
        Condition={
            "StringEquals": {
                "AWS:SourceArn": {
                    "Fn::Join": [
                        "",
                        [f"arn:aws:cloudfront::{ACCOUNT}:distribution/", {"Ref": "Distribution"}],
                    ]
                }
            }
        },
    )
    policy = {
        "Bucket": {"Ref": "Bucket"},
        "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }
    resources: dict[str, Any] = {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}},
        "Access": {
            "Type": "AWS::CloudFront::OriginAccessControl",
            "Properties": {"OriginAccessControlConfig": access},
        },
        "Headers": {
            "Type": "AWS::CloudFront::ResponseHeadersPolicy",
            "Properties": {
                "ResponseHeadersPolicyConfig": {"Name": "h", "CustomHeadersConfig": added}
            },
        },
        "Distribution": {
            "Type": "AWS::CloudFront::Distribution",
            "Properties": {"DistributionConfig": config},
        },
    }
    return resources | (
        {"Policy": {"Type": "AWS::S3::BucketPolicy", "Properties": policy}} if allowed else {}
    )


@pytest.fixture(scope="module")
def site(client: Client) -> Iterator[tuple[Stacks, str, str]]:
    """Yield a deployed distribution over a bucket that it may not read yet.

    The values are the stacks, the stack's name and the distribution's address.
    """
    stacks = Stacks(client)
    outputs = {"Domain": {"Fn::GetAtt": ["Distribution", "DomainName"]}}
    stack = stacks.create(_template(allowed=False), outputs)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    s3 = client("s3")
    files = {"index.html": b"home", "lost.html": b"lost", "a b.txt": b"0123456789"}
    for key, body in files.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="text/html")
    yield stacks, stack, f"http://{stacks.outputs(stack)['Domain']}"
    for key in files:
        s3.delete_object(Bucket=BUCKET, Key=key)
    stacks.delete(stack)


def test_static_files(site: tuple[Stacks, str, str]) -> None:
    """Once the bucket's policy allows it, objects are served, with root object and error page."""
    stacks, stack, url = site
    refused = httpx.get(f"{url}/index.html")
    assert refused.status_code == 403
    assert "AccessDenied" in refused.text
    stacks.update(stack, _template(allowed=True))
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)

    home = httpx.get(f"{url}/?ignored=1", headers={"authorization": "Bearer x"})
    assert (home.status_code, home.text, home.headers["x-own"]) == (200, "home", "yes")
    part = httpx.get(f"{url}/a%20b.txt", headers={"range": "bytes=2-4"})
    assert (part.status_code, part.text) == (206, "234")
    # No caller may list the bucket, so S3 answers 403 for a missing object.
    lost = httpx.get(f"{url}/missing")
    assert (lost.status_code, lost.text, lost.headers["content-type"]) == (404, "lost", "text/html")
    assert httpx.head(f"{url}/index.html").headers["content-length"] == "4"
    assert httpx.post(f"{url}/index.html").status_code == 403
