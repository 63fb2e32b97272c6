"""Cross-origin requests of browsers, from the origins that a setting names.

Without the setting no such header is sent, and a page of another origin cannot read a response. The
script of a page sends its key in a header, so cookies and other credentials are never allowed.
"""

import re
from collections.abc import Mapping, Sequence

EXPOSED = (
    "x-request-id, openai-processing-ms, retry-after, x-should-retry, x-ratelimit-limit-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
    "x-ratelimit-reset-requests, x-ratelimit-reset-tokens, x-sluice-stream, x-sluice-log"
)
"""The headers of a response that a page may read."""
METHODS = "GET, HEAD, POST, DELETE"
_HEADERS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,1024}")
_MAX_AGE = "7200"  # the longest that Chromium takes

Header = tuple[bytes, bytes]


class Cors:
    """The origins that may read responses. `*` is any."""

    def __init__(self, origins: Sequence[str]) -> None:
        """Take the origins."""
        self._any = "*" in origins
        self._origins = frozenset(origin.lower() for origin in origins)

    def headers(self, request: Mapping[str, str]) -> list[Header]:
        """Return the CORS headers of the response to a request with these headers."""
        if self._any:
            return [(b"access-control-allow-origin", b"*"), _EXPOSE]
        origin = request.get("origin", "")
        if not self._allows(origin):
            return [_VARY]
        return [(b"access-control-allow-origin", origin.encode("latin-1")), _EXPOSE, _VARY]

    def preflight(self, method: str, request: Mapping[str, str]) -> list[Header] | None:
        """Return the headers of the response to a preflight request, or None for any other request.

        A browser sends it without a key, before the request itself.
        """
        asked = request.get("access-control-request-headers", "")
        if (
            method != "OPTIONS"
            or "access-control-request-method" not in request
            or not (self._any or self._allows(request.get("origin", "")))
            or _HEADERS.fullmatch(asked) is None
        ):
            return None
        allowed = {
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": asked or "authorization, content-type",
            "access-control-max-age": _MAX_AGE,
        }
        return [(name.encode(), value.encode()) for name, value in allowed.items()]

    def _allows(self, origin: str) -> bool:
        return origin.lower() in self._origins


_EXPOSE = (b"access-control-expose-headers", EXPOSED.encode())
_VARY = (b"vary", b"origin")
