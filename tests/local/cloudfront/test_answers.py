"""Headers that a response headers policy adds to responses or removes."""

import pytest
from aiohttp import web
from multidict import CIMultiDict

from local.cloudfront.answers import MANAGED, apply_policy


def test_headers_of_a_policy() -> None:
    """A policy removes headers and adds others. It replaces existing ones only with `Override`."""
    policy = {
        "RemoveHeadersConfig": {"Items": [{"Header": "x-powered-by"}]},
        "CustomHeadersConfig": {
            "Items": [
                {"Header": "X-A", "Value": "policy", "Override": True},
                {"Header": "X-B", "Value": "policy", "Override": False},
            ]
        },
        "SecurityHeadersConfig": {
            "StrictTransportSecurity": {
                "AccessControlMaxAgeSec": 60,
                "IncludeSubdomains": True,
                "Override": True,
            },
            "ContentSecurityPolicy": {
                "ContentSecurityPolicy": "default-src 'self'",
                "Override": True,
            },
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
    """CORS headers are added for allowed origins, unless the origin's response has its own."""
    headers = CIMultiDict(own)
    apply_policy(CORS, headers, viewer)
    assert {name.lower(): value for name, value in headers.items()} == {**own, **added}


def test_server_timing() -> None:
    """A policy with Server-Timing for all requests adds where the response came from."""
    headers: CIMultiDict[str] = CIMultiDict()
    apply_policy({"ServerTimingHeadersConfig": {"Enabled": True, "SamplingRate": 100}}, headers)
    assert headers["Server-Timing"].startswith('cdn-cache-miss,cdn-pop;desc="')


def test_managed_security_headers() -> None:
    """The managed policy of security headers adds its five headers."""
    response = web.Response()
    apply_policy(MANAGED["67f7725c-6f97-4210-82d7-5512b31e9d03"], response.headers)
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert response.headers["X-XSS-Protection"] == "1; mode=block"
    assert {
        "X-Content-Type-Options",
        "X-Frame-Options",
        "Referrer-Policy",
    } <= response.headers.keys()
