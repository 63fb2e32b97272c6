"""Changes responses as a distribution does: by response headers policy and error pages. Pure.

Sources: the CloudFront developer guide, "Understand response headers policies", "Use managed
response headers policies" and "Create a custom error page for specific HTTP status codes".
"""

import random
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

_DAYS_365 = 31_536_000
# The name of the only point of presence.
POP = "LOCAL1-P1"
NOTHING: Mapping[str, str] = MappingProxyType({})
# The managed policies without CORS, by their published ids.
MANAGED: dict[str, dict[str, Any]] = {
    "67f7725c-6f97-4210-82d7-5512b31e9d03": {
        "SecurityHeadersConfig": {
            "ContentTypeOptions": {"Override": True},
            "FrameOptions": {"FrameOption": "SAMEORIGIN", "Override": False},
            "ReferrerPolicy": {
                "ReferrerPolicy": "strict-origin-when-cross-origin",
                "Override": False,
            },
            "StrictTransportSecurity": {"AccessControlMaxAgeSec": _DAYS_365, "Override": False},
            "XSSProtection": {"Protection": True, "ModeBlock": True, "Override": False},
        }
    }
}


@dataclass(frozen=True)
class ErrorPage:
    """The response in place of an error: the path of a page at the distribution, and its status."""

    path: str
    status: int


def error_pages(config: dict[str, Any]) -> dict[int, ErrorPage]:
    """Return the error pages of a DistributionConfig by the status that they replace."""
    return {
        int(item["ErrorCode"]): ErrorPage(
            item["ResponsePagePath"], int(item.get("ResponseCode", item["ErrorCode"]))
        )
        for item in config.get("CustomErrorResponses", [])
        if item.get("ResponsePagePath")  # without a page the entry is about caching
    }


def apply_policy(
    policy: dict[str, Any], headers: MutableMapping[str, str], viewer: Mapping[str, str] = NOTHING
) -> None:
    """Change a response's `headers` by a ResponseHeadersPolicyConfig.

    `headers` must find names in any case. `viewer` are the request's headers. The policy first
    removes headers, then adds its own. It replaces an existing header only if it overrides it.
    """
    for item in policy.get("RemoveHeadersConfig", {}).get("Items", []):
        headers.pop(item["Header"], None)
    for name, value, override in _added(policy):
        if override or name not in headers:
            headers[name] = value

    if cors := policy.get("CorsConfig"):
        _share(cors, headers, {name.lower(): value for name, value in viewer.items()})
    timing = policy.get("ServerTimingHeadersConfig", {})
    if timing.get("Enabled") and random.uniform(0, 100) < float(timing.get("SamplingRate", 0)):  # noqa: S311 - a sample
        headers["Server-Timing"] = f'cdn-cache-miss,cdn-pop;desc="{POP}",cdn-hit-layer;desc="None"'


def _share(cors: dict[str, Any], headers: MutableMapping[str, str], viewer: dict[str, str]) -> None:
    """Add the policy's CORS headers, if the policy allows the viewer's origin.

    CORS headers of the origin server stay as they are. With `OriginOverride`, the policy's headers
    replace all of them.
    """
    origin = viewer.get("origin")
    own = [name for name in headers if name.lower().startswith("access-control-")]
    allowed = cors["AccessControlAllowOrigins"]["Items"]
    if (
        origin is None
        or (own and not cors["OriginOverride"])
        or not any(fnmatchcase(origin, pattern) for pattern in allowed)
    ):
        return
    for name in own:
        del headers[name]
    anybody = "*" in allowed and not cors["AccessControlAllowCredentials"]
    headers["Access-Control-Allow-Origin"] = "*" if anybody else origin
    if not anybody:
        headers["Vary"] = ", ".join(filter(None, (headers.get("Vary"), "Origin")))
    if cors["AccessControlAllowCredentials"]:
        headers["Access-Control-Allow-Credentials"] = "true"
    if "access-control-request-method" in viewer:  # a preflight request of a browser
        headers["Access-Control-Allow-Methods"] = ", ".join(
            cors["AccessControlAllowMethods"]["Items"]
        )
        headers["Access-Control-Allow-Headers"] = ", ".join(
            cors["AccessControlAllowHeaders"]["Items"]
        )
        if "AccessControlMaxAgeSec" in cors:
            headers["Access-Control-Max-Age"] = str(cors["AccessControlMaxAgeSec"])
    elif items := cors.get("AccessControlExposeHeaders", {}).get("Items"):
        headers["Access-Control-Expose-Headers"] = ", ".join(items)


def _added(policy: dict[str, Any]) -> Iterable[tuple[str, str, bool]]:
    security = policy.get("SecurityHeadersConfig", {})
    if item := security.get("StrictTransportSecurity"):
        value = f"max-age={item['AccessControlMaxAgeSec']}"
        value += "; includeSubDomains" if item.get("IncludeSubdomains") else ""
        yield (
            "Strict-Transport-Security",
            value + ("; preload" if item.get("Preload") else ""),
            item["Override"],
        )
    if item := security.get("ContentTypeOptions"):
        yield "X-Content-Type-Options", "nosniff", item["Override"]
    if item := security.get("FrameOptions"):
        yield "X-Frame-Options", item["FrameOption"], item["Override"]
    if item := security.get("ReferrerPolicy"):
        yield "Referrer-Policy", item["ReferrerPolicy"], item["Override"]
    if item := security.get("ContentSecurityPolicy"):
        yield "Content-Security-Policy", item["ContentSecurityPolicy"], item["Override"]
    if item := security.get("XSSProtection"):
        value = "1" if item["Protection"] else "0"
        value += "; mode=block" if item.get("ModeBlock") else ""
        yield (
            "X-XSS-Protection",
            value + (f"; report={item['ReportUri']}" if item.get("ReportUri") else ""),
            item["Override"],
        )
    for item in policy.get("CustomHeadersConfig", {}).get("Items", []):
        yield item["Header"], item["Value"], item["Override"]
