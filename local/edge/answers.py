"""What a distribution makes of an answer on its way back: the response headers policy and the error pages. Pure.

Sources: the CloudFront developer guide, "Understand response headers policies", "Use managed response headers policies"
and "Create a custom error page for specific HTTP status codes".
"""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

_DAYS_365 = 31_536_000
# The managed policies without CORS, by their published ids.
MANAGED: dict[str, dict[str, Any]] = {
    "67f7725c-6f97-4210-82d7-5512b31e9d03": {
        "SecurityHeadersConfig": {
            "ContentTypeOptions": {"Override": True},
            "FrameOptions": {"FrameOption": "SAMEORIGIN", "Override": False},
            "ReferrerPolicy": {"ReferrerPolicy": "strict-origin-when-cross-origin", "Override": False},
            "StrictTransportSecurity": {"AccessControlMaxAgeSec": _DAYS_365, "Override": False},
            "XSSProtection": {"Protection": True, "ModeBlock": True, "Override": False},
        }
    }
}


@dataclass(frozen=True)
class ErrorPage:
    """What is shown instead of an error: the page's path at the distribution, and the status it is sent with."""

    path: str
    status: int


def error_pages(config: dict[str, Any]) -> dict[int, ErrorPage]:
    """The error pages of a DistributionConfig by the status that they stand for."""
    return {
        int(item["ErrorCode"]): ErrorPage(item["ResponsePagePath"], int(item.get("ResponseCode", item["ErrorCode"])))
        for item in config.get("CustomErrorResponses", [])
        if item.get("ResponsePagePath")  # without one it is about caching
    }


def apply_policy(policy: dict[str, Any], headers: MutableMapping[str, str]) -> None:
    """Change an answer's `headers` as a ResponseHeadersPolicyConfig says; names are found in any case.

    A header that is removed may be added anew. One that is there already stays, unless the policy overrides it.
    CORS and Server-Timing are not applied.
    """
    for item in policy.get("RemoveHeadersConfig", {}).get("Items", []):
        headers.pop(item["Header"], None)
    for name, value, override in _added(policy):
        if override or name not in headers:
            headers[name] = value


def _added(policy: dict[str, Any]) -> Iterable[tuple[str, str, bool]]:
    security = policy.get("SecurityHeadersConfig", {})
    if item := security.get("StrictTransportSecurity"):
        value = f"max-age={item['AccessControlMaxAgeSec']}"
        value += "; includeSubDomains" if item.get("IncludeSubdomains") else ""
        yield "Strict-Transport-Security", value + ("; preload" if item.get("Preload") else ""), item["Override"]
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
