"""Requests, responses and configurations that CloudFront refuses because of their size.

Source: the rows `cloudfront_*` of `local.limits`.
"""

from collections.abc import Iterable
from typing import Any

import aiohttp
from aiohttp import web

from local.limits import value

# The longest request line or header, in bytes, that a listener reads. It is above the limits, so
# that the checks here refuse the request.
READABLE = 65_536


def refuse(request: web.Request) -> tuple[int, str] | None:
    """Return the status and message of a refusal, or None if the request may pass."""
    size = (
        len(request.method)
        + len(request.raw_path)
        + len("  HTTP/1.1")
        + _length(request.raw_headers)
    )
    if len(request.raw_path) > value("cloudfront_url") or size > value("cloudfront_request"):
        return 413, "Request Entity Too Large: the URL or the header fields are too long."
    if request.method == "GET" and request.body_exists:
        return 403, "Bad request: a GET request must not have a body."
    return None


def too_long(upstream: aiohttp.ClientResponse) -> bool:
    """Return whether the head of an origin's response is over the limit."""
    return _length(upstream.raw_headers) > value("cloudfront_response_headers")


def _length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    # A colon, a space and a line end for each header.
    return sum(len(name) + len(field) + 4 for name, field in headers)


def bad_origin(item: dict[str, Any]) -> str | None:
    """Return CloudFront's message about an invalid origin of a DistributionConfig, or None."""
    if float((item.get("CustomOriginConfig") or {}).get("OriginReadTimeout", 0)) > value(
        "cloudfront_read_most"
    ):
        return "The read timeout specified for the origin is not valid. (InvalidOriginReadTimeout)"
    if len(item.get("OriginCustomHeaders", [])) > value("cloudfront_custom_headers"):
        return (
            "Your request contains more custom headers than are allowed. "
            "(TooManyOriginCustomHeaders)"
        )
    for header in item.get("OriginCustomHeaders", []):
        if len(header["HeaderName"]) > value("cloudfront_header_name"):
            return f"The parameter HeaderName is too long: {header['HeaderName'][:40]}..."
        if len(header["HeaderValue"]) > value("cloudfront_header_value"):
            return f"The parameter HeaderValue of {header['HeaderName']} is too long."
    return None
