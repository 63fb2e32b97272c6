"""Distributions with static files: buckets as origins, error pages, and headers of the distribution's own."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from multidict import CIMultiDict

from local.cloud import ACCOUNT
from local.cloudfront.answers import MANAGED, apply_policy
from local.cloudfront.behaviours import ConfigError, behaviours
from local.cloudfront.s3 import allows
from tests.support.local_cloud import Client, Stacks

BUCKET = "sluice-static-files"
ID = "E123"
SOURCE = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{ID}"


def _statement(**changed: Any) -> dict[str, Any]:
    """CDK's own statement for an origin access control."""
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
        ({"Effect": "Deny", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}, True, True),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, True, False),
    ],
)
def test_who_may_read_a_bucket(changed: dict[str, Any], signed: bool, expected: bool) -> None:
    """A distribution reads what the bucket's policy lets it, signed as the distribution that it is, or as anybody."""
    statement = {"Sid": "Also", **_statement(**changed)}
    policy = {"Statement": [_statement(), statement] if changed.get("Effect") else [statement]}
    assert allows(policy, "s3:GetObject", "arn:aws:s3:::b/a.html", distribution=ID, signed=signed) is expected


def test_headers_of_a_policy() -> None:
    """A policy removes headers, adds others, and overrides those that are there only where it says so."""
    policy = {
        "RemoveHeadersConfig": {"Items": [{"Header": "x-powered-by"}]},
        "CustomHeadersConfig": {
            "Items": [
                {"Header": "X-A", "Value": "policy", "Override": True},
                {"Header": "X-B", "Value": "policy", "Override": False},
            ]
        },
        "SecurityHeadersConfig": {
            "StrictTransportSecurity": {"AccessControlMaxAgeSec": 60, "IncludeSubdomains": True, "Override": True},
            "ContentSecurityPolicy": {"ContentSecurityPolicy": "default-src 'self'", "Override": True},
        },
    }
    headers = CIMultiDict({"X-Powered-By": "x", "x-a": "origin", "x-b": "origin"})
    apply_policy(policy, headers)
    assert {name.lower(): value for name, value in headers.items()} == {
        "x-a": "policy",
        "x-b": "origin",
        "strict-transport-security": "max-age=60; includeSubDomains",
        "content-security-policy": "default-src 'self'",
    }


CORS = {
    "CorsConfig": {
        "AccessControlAllowOrigins": {"Items": ["https://*.example.org"]},
        "AccessControlAllowMethods": {"Items": ["GET", "POST"]},
        "AccessControlAllowHeaders": {"Items": ["authorization"]},
        "AccessControlExposeHeaders": {"Items": ["x-request-id"]},
        "AccessControlAllowCredentials": False,
        "AccessControlMaxAgeSec": 60,
        "OriginOverride": False,
    }
}


@pytest.mark.parametrize(
    ("viewer", "own", "added"),
    [
        ({}, {}, {}),
        ({"Origin": "https://evil.org"}, {}, {}),
        ({"Origin": "https://a.example.org"}, {"access-control-allow-origin": "*"}, {}),
        (
            {"Origin": "https://a.example.org"},
            {},
            {
                "access-control-allow-origin": "https://a.example.org",
                "access-control-expose-headers": "x-request-id",
                "vary": "Origin",
            },
        ),
        (
            {"Origin": "https://a.example.org", "Access-Control-Request-Method": "POST"},
            {},
            {
                "access-control-allow-origin": "https://a.example.org",
                "access-control-allow-methods": "GET, POST",
                "access-control-allow-headers": "authorization",
                "access-control-max-age": "60",
                "vary": "Origin",
            },
        ),
    ],
)
def test_cors(viewer: dict[str, str], own: dict[str, str], added: dict[str, str]) -> None:
    """CORS headers are added for origins that a policy allows, unless the origin's answer has its own."""
    headers = CIMultiDict(own)
    apply_policy(CORS, headers, viewer)
    assert {name.lower(): value for name, value in headers.items()} == {**own, **added}


def test_server_timing() -> None:
    """A policy with Server-Timing for all requests says where the answer came from."""
    headers: CIMultiDict[str] = CIMultiDict()
    apply_policy({"ServerTimingHeadersConfig": {"Enabled": True, "SamplingRate": 100}}, headers)
    assert headers["Server-Timing"].startswith('cdn-cache-miss,cdn-pop;desc="')


def test_managed_security_headers() -> None:
    """The managed policy of security headers adds its five."""
    response = web.Response()
    apply_policy(MANAGED["67f7725c-6f97-4210-82d7-5512b31e9d03"], response.headers)
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert response.headers["X-XSS-Protection"] == "1; mode=block"
    assert {"X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"} <= response.headers.keys()


@pytest.mark.parametrize("name", ["OriginAccessControlId", "ResponseHeadersPolicyId"])
def test_references_that_lead_nowhere(name: str) -> None:
    """An origin access control or a response headers policy that does not exist is an error."""
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
        "CustomErrorResponses": [{"ErrorCode": 403, "ResponseCode": 404, "ResponsePagePath": "/lost.html"}],
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
                    "Fn::Join": ["", [f"arn:aws:cloudfront::{ACCOUNT}:distribution/", {"Ref": "Distribution"}]]
                }
            }
        },
    )
    policy = {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]}}
    resources: dict[str, Any] = {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}},
        "Access": {
            "Type": "AWS::CloudFront::OriginAccessControl",
            "Properties": {"OriginAccessControlConfig": access},
        },
        "Headers": {
            "Type": "AWS::CloudFront::ResponseHeadersPolicy",
            "Properties": {"ResponseHeadersPolicyConfig": {"Name": "h", "CustomHeadersConfig": added}},
        },
        "Distribution": {"Type": "AWS::CloudFront::Distribution", "Properties": {"DistributionConfig": config}},
    }
    return resources | ({"Policy": {"Type": "AWS::S3::BucketPolicy", "Properties": policy}} if allowed else {})


@pytest.fixture(scope="module")
def site(client: Client) -> Iterator[tuple[Stacks, str, str]]:
    """A deployed distribution over a bucket that it may not read yet: stacks, the stack's name and the address."""
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
    """Objects are served once the bucket's policy lets the distribution read, with root object and error page."""
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
    # Nobody may list the bucket, so that a missing object is a 403 of S3.
    lost = httpx.get(f"{url}/missing")
    assert (lost.status_code, lost.text, lost.headers["content-type"]) == (404, "lost", "text/html")
    assert httpx.head(f"{url}/index.html").headers["content-length"] == "4"
    assert httpx.post(f"{url}/index.html").status_code == 403
