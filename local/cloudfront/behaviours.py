"""Chooses the behaviour and origin of a request, and the parts of it that reach the origin. Pure.

Sources: the CloudFront developer guide, "Cache behavior settings", "Use managed origin request
policies" and "Request and response behavior for custom origins".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from local.cloudfront.admission import bad_origin
from local.cloudfront.answers import MANAGED
from local.cloudfront.compression import compresses

Headers = list[tuple[str, str]]

# Managed origin request policies, by their published ids.
ALL_VIEWER = "216adef6-5c7f-47e4-b989-5492eafa07d3"
ALL_VIEWER_EXCEPT_HOST_HEADER = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
_DEFAULT_METHODS = ("GET", "HEAD")
_DEFAULT_READ_TIMEOUT_S = 30
# Without a policy, neither cookies nor query string nor Authorization reach an origin.
_ALWAYS = {
    "content-type",
    "content-length",
    "content-encoding",
    "x-forwarded-for",
    "range",
    "if-modified-since",
    "if-none-match",
}
# CloudFront removes these headers or sets them itself.
_REMOVED = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "host",
}


@dataclass(frozen=True)
class Origin:
    """An origin. `timeout` is in seconds: to the first byte, and between packets.

    `signed` says that an origin access control signs the requests to it.
    """

    domain: str
    path: str
    port: int | None
    headers: tuple[tuple[str, str], ...]
    timeout: float
    kind: str
    signed: bool = False


@dataclass(frozen=True)
class Behaviour:
    """How requests of one path pattern are handled. `answers` is a ResponseHeadersPolicyConfig."""

    pattern: str
    methods: tuple[str, ...]
    origin: Origin
    policy: dict[str, Any]
    answers: dict[str, Any] = field(default_factory=dict)
    compresses: bool = False


class ConfigError(Exception):
    """The distribution's configuration is invalid.

    The message is the failure reason of the resource.
    """


def behaviours(config: dict[str, Any], policies: dict[str, dict[str, Any]]) -> list[Behaviour]:
    """Return the behaviours in the order in which they are tried, the default one last.

    `config` is CloudFormation's DistributionConfig.

    Raises ConfigError.
    """
    for item in config.get("Origins", []):
        if reason := bad_origin(item):
            raise ConfigError(reason)
    origins = {item["Id"]: _origin(item, policies) for item in config.get("Origins", [])}
    ordered = []
    for item in [
        *config.get("CacheBehaviors", []),
        {"PathPattern": "*", **config["DefaultCacheBehavior"]},
    ]:
        if item["TargetOriginId"] not in origins:
            raise ConfigError(
                "One or more of your origins or origin groups do not exist: "
                f"{item['TargetOriginId']}"
            )
        policy = _policy(item.get("OriginRequestPolicyId"), policies)
        methods = tuple(item.get("AllowedMethods", _DEFAULT_METHODS))
        answers = _answers(item.get("ResponseHeadersPolicyId"), policies)
        ordered.append(
            Behaviour(
                item["PathPattern"],
                methods,
                origins[item["TargetOriginId"]],
                policy,
                answers,
                compresses(item, policies),
            )
        )
    return ordered


def _origin(item: dict[str, Any], policies: dict[str, dict[str, Any]]) -> Origin:
    custom = item.get("CustomOriginConfig")
    port = None
    if custom is not None and custom.get("OriginProtocolPolicy") == "http-only":
        port = int(custom.get("HTTPPort", 80))
    headers = tuple(
        (header["HeaderName"], header["HeaderValue"])
        for header in item.get("OriginCustomHeaders", [])
    )
    timeout = float((custom or {}).get("OriginReadTimeout", _DEFAULT_READ_TIMEOUT_S))
    kind = "custom" if custom is not None else "s3"
    control: str = item.get("OriginAccessControlId") or ""
    if control and control not in policies:
        raise ConfigError(f"The specified origin access control does not exist: {control}")
    signed = bool(control) and policies[control]["SigningBehavior"] != "never"
    return Origin(
        item["DomainName"], item.get("OriginPath", ""), port, headers, timeout, kind, signed
    )


def _answers(policy_id: str | None, policies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if policy_id is None:
        return {}
    available = {**MANAGED, **policies}
    if policy_id not in available:
        raise ConfigError(f"The local cloud does not know the response headers policy {policy_id}")
    return available[policy_id]


def _policy(policy_id: str | None, policies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    everything = {
        "CookiesConfig": {"CookieBehavior": "all"},
        "QueryStringsConfig": {"QueryStringBehavior": "all"},
    }
    if policy_id is None:
        return {}
    if policy_id in {ALL_VIEWER, ALL_VIEWER_EXCEPT_HOST_HEADER}:
        keep = "allViewer" if policy_id == ALL_VIEWER else "allExcept"
        return {**everything, "HeadersConfig": {"HeaderBehavior": keep, "Headers": ["Host"]}}
    if policy_id not in policies:
        raise ConfigError(f"The local cloud does not know the origin request policy {policy_id}")
    return policies[policy_id]


def choose(ordered: Iterable[Behaviour], path: str) -> Behaviour:
    """Return the first behaviour whose pattern matches the path, without the query string."""
    return next(item for item in ordered if _expression(item.pattern).fullmatch(path))


@lru_cache
def _expression(pattern: str) -> re.Pattern[str]:
    # `*` matches any number of characters, `?` exactly one. The leading slash may be left out.
    absolute = pattern if pattern.startswith(("/", "*")) else "/" + pattern
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in absolute)
    return re.compile("".join(parts), re.DOTALL)


def target(behaviour: Behaviour, raw_path: str) -> str:
    """Return the path and query string that the origin gets."""
    path, _, query = raw_path.partition("?")
    forwards_query = (
        behaviour.policy.get("QueryStringsConfig", {}).get("QueryStringBehavior", "none") != "none"
    )
    return behaviour.origin.path + path + (f"?{query}" if forwards_query and query else "")


def to_origin(
    behaviour: Behaviour, viewer: Headers, viewer_ip: str, request_id: str, distribution: str
) -> Headers:
    """Return the headers of the request to the origin.

    The distribution's custom headers replace the viewer's.
    """
    config = behaviour.policy.get("HeadersConfig", {})
    mode = config.get("HeaderBehavior", "none")
    named = {name.lower() for name in config.get("Headers", [])}
    cookies = behaviour.policy.get("CookiesConfig", {}).get("CookieBehavior", "none") != "none"
    replaced = {name.lower() for name, _ in behaviour.origin.headers} | {
        "via",
        "x-amz-cf-id",
        "x-forwarded-for",
    }
    headers: Headers = []
    forwarded = ""
    for name, value in viewer:
        key = name.lower()
        if key == "x-forwarded-for":
            forwarded = value
        if key in _REMOVED or key in replaced:
            continue
        if key == "cookie":
            passes = cookies
        else:
            passes = key in _ALWAYS or mode in {"allViewer", "allViewerAndWhitelistCloudFront"}
            passes = (
                passes
                or (mode == "allExcept" and key not in named)
                or (mode == "whitelist" and key in named)
            )
        if passes:
            headers.append((name, value))
    host = next((value for name, value in viewer if name.lower() == "host"), "")
    keeps_host = mode in {"allViewer", "allViewerAndWhitelistCloudFront"} or (
        mode == "whitelist" and "host" in named
    )
    headers.append(("Host", host if keeps_host else behaviour.origin.domain))
    headers.append(("X-Forwarded-For", f"{forwarded}, {viewer_ip}" if forwarded else viewer_ip))
    headers.append(("Via", via(distribution)))
    headers.append(("X-Amz-Cf-Id", request_id))
    headers.extend(behaviour.origin.headers)
    return headers


def via(distribution: str) -> str:
    """Return CloudFront's `Via` header."""
    return f"1.1 {distribution.lower()}.cloudfront.net (CloudFront)"
