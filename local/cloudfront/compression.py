"""Compresses responses as a distribution does. Pure.

CloudFront prefers Brotli, which browsers accept over HTTPS only; here it is always gzip. Source:
the CloudFront developer guide, "Serve compressed files".
"""

import re
import zlib
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

MIN_BYTES, MAX_BYTES = 1_000, 10_000_000
# Managed cache policies that compress, by their published ids.
_MANAGED = {
    "658327ea-f89d-4fab-a63d-7e88639e58f6",  # CachingOptimized
    "83da9c7e-98b4-4e11-a168-04f0df8e2c65",  # UseOriginCacheControlHeaders
    "4cc15a8a-d715-48a4-82b8-cc0b614638fe",  # UseOriginCacheControlHeaders-QueryStrings
}
_STATUSES = {200, 403, 404}
_TYPES = re.compile(
    r"text/(css|csv|html|js|javascript|plain|richtext|tab-separated-values|xml|x-component"
    r"|x-java-source|x-script)"
    r"|application/(dash\+xml|eot|font|font-sfnt|javascript|json|opentype|otf|pdf|pkcs7-mime"
    r"|protobuf|rss\+xml|truetype|ttf|vnd\.apple\.mpegurl|vnd\.mapbox-vector-tile"
    r"|vnd\.ms-fontobject|wasm|xhtml\+xml|xml|x-font-opentype|x-font-truetype|x-font-ttf"
    r"|x-httpd-cgi|x-javascript|x-mpegurl|x-opentype|x-otf|x-perl|x-ttf)"
    r"|font/(eot|opentype|otf|ttf|x-woff)|image/(bmp|svg\+xml|vnd\.microsoft\.icon|x-icon)"
)


def compresses(behaviour: Mapping[str, Any], policies: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a behaviour of a distribution compresses.

    Its `Compress` and its cache policy must both say so. `policies` are the configurations of the
    account's own policies by their ids.
    """
    if behaviour.get("Compress") not in (True, "true"):
        return False
    policy: str = behaviour.get("CachePolicyId", "")
    keys = policies.get(policy, {}).get("ParametersInCacheKeyAndForwardedToOrigin", {})
    return policy in _MANAGED or keys.get("EnableAcceptEncodingGzip") in (True, "true")


def is_compressible(status: int, answer: Mapping[str, str], viewer: Mapping[str, str]) -> bool:
    """Return whether a response is compressed for a viewer.

    `answer` and `viewer` are the headers of the response and of the request; they must find names
    in any case.
    """
    length = answer.get("Content-Length", "")
    kind = answer.get("Content-Type", "").partition(";")[0].strip().lower()
    return (
        status in _STATUSES
        and _accepts_gzip(viewer.get("Accept-Encoding", ""))
        and "Content-Encoding" not in answer
        and length.isdecimal()
        and MIN_BYTES <= int(length) <= MAX_BYTES
        and _TYPES.fullmatch(kind) is not None
    )


def _accepts_gzip(text: str) -> bool:
    for item in text.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name in {"gzip", "*"}:
            return not any(re.fullmatch(r"q=0(\.0*)?", it) for it in parameters)
    return False


class Compressor(Protocol):
    """Compresses the parts of a response, and returns what can be sent of them."""

    def compress(self, data: bytes, /) -> bytes:
        """Take a part."""
        ...

    def flush(self) -> bytes:
        """End the response."""
        ...


def compressor(headers: MutableMapping[str, str]) -> Compressor:
    """Change a response's `headers` to those of a compressed one, and return what compresses it."""
    del headers["Content-Length"]
    headers["Content-Encoding"] = "gzip"
    headers["Vary"] = ", ".join(filter(None, (headers.get("Vary"), "Accept-Encoding")))
    tag = headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        headers["ETag"] = f"W/{tag}"
    return zlib.compressobj(wbits=31)
