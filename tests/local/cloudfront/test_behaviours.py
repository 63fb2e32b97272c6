"""The behaviour and origin of a request, and what is forwarded to the origin."""

from typing import Any

import pytest

from local.cloudfront.behaviours import (
    ConfigError,
    behaviours,
    choose,
    target,
    to_origin,
)
from tests.support.distributions import config


def test_behaviours_by_pattern() -> None:
    """The first pattern that matches the path decides. The default behaviour takes the rest."""
    changed = config()
    changed["CacheBehaviors"] = [
        {"PathPattern": pattern, "TargetOriginId": "o"}
        for pattern in ("/v1/*", "img?.png", "/admin", "*.css")
    ]
    parsed = behaviours(changed, {})
    chosen = [
        choose(parsed, path).pattern
        for path in ("/v1/", "/v1/a/b", "/img1.png", "/admin", "/x/y.css", "/admin/", "/V1/")
    ]
    assert chosen == ["/v1/*", "/v1/*", "img?.png", "/admin", "*.css", "*", "*"]
    assert parsed[0].methods == ("GET", "HEAD")


def test_headers_to_the_origin() -> None:
    """With the policy of all viewer headers but Host, the Host is the origin's.

    Custom headers replace the viewer's.
    """
    (behaviour,) = behaviours(config(), {})
    viewer = [
        ("Host", "d"),
        ("Authorization", "B"),
        ("x-secret", "forged"),
        ("Connection", "x"),
        ("X-Forwarded-For", "9"),
    ]
    headers = to_origin(behaviour, viewer, "127.0.0.1", "id", "EXX")
    by_name = {name.lower(): value for name, value in headers}
    assert by_name["authorization"] == "B"
    assert [value for name, value in headers if name.lower() == "x-secret"] == ["s"]
    assert by_name["host"] == "localhost"
    assert by_name["x-forwarded-for"] == "9, 127.0.0.1"
    assert by_name["x-amz-cf-id"] == "id"
    assert "connection" not in by_name
    assert target(behaviour, "/a%20b?q=%2F") == "/a%20b?q=%2F"


def test_without_a_policy_little_is_forwarded() -> None:
    """Without a policy, Authorization, cookies and query string are not forwarded."""
    (behaviour,) = behaviours(config(OriginRequestPolicyId=None), {})
    viewer = [("Host", "d"), ("Authorization", "B"), ("Cookie", "c"), ("Content-Type", "t")]
    names = {name.lower() for name, _ in to_origin(behaviour, viewer, "", "id", "E")}
    assert "content-type" in names
    assert not names & {"authorization", "cookie"}
    assert target(behaviour, "/a?b") == "/a"


@pytest.mark.parametrize(
    "change", [{"TargetOriginId": "none"}, {"OriginRequestPolicyId": "unknown"}]
)
def test_bad_configurations(change: dict[str, Any]) -> None:
    """An origin or a policy that does not exist is an error."""
    with pytest.raises(ConfigError):
        behaviours(config(**change), {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"CustomOriginConfig": {"OriginReadTimeout": 121}}, "InvalidOriginReadTimeout"),
        (
            {"OriginCustomHeaders": [{"HeaderName": "x", "HeaderValue": ""}] * 31},
            "TooManyOriginCustomHeaders",
        ),
        ({"OriginCustomHeaders": [{"HeaderName": "x" * 257, "HeaderValue": ""}]}, "HeaderName"),
        ({"OriginCustomHeaders": [{"HeaderName": "x", "HeaderValue": "v" * 1784}]}, "HeaderValue"),
    ],
)
def test_origins_over_the_limits(change: dict[str, Any], reason: str) -> None:
    """A read timeout or custom header over CloudFront's limits is rejected at deployment."""
    changed = config()
    changed["Origins"][0].update(change)
    with pytest.raises(ConfigError, match=reason):
        behaviours(changed, {})
