"""Converts the event of a function URL (payload format 2.0) to an ASGI scope. Pure.

Source: "Invoking Lambda function URLs", AWS Lambda Developer Guide. Missing fields and unknown
fields are accepted.
"""

import base64
import binascii
from typing import Any
from urllib.parse import unquote

import msgspec

from lambda_fn import limits


class InvalidEvent(Exception):
    """The event does not describe an HTTP request."""


class _Http(msgspec.Struct):
    method: str
    path: str = "/"
    protocol: str = "HTTP/1.1"
    sourceIp: str = ""  # noqa: N815 (AWS's name)


class _RequestContext(msgspec.Struct):
    http: _Http
    domainName: str = "localhost"  # noqa: N815 (AWS's name)


class _Event(msgspec.Struct):
    requestContext: _RequestContext  # noqa: N815 (AWS's name)
    rawPath: str = ""  # noqa: N815 (AWS's name)
    rawQueryString: str = ""  # noqa: N815 (AWS's name)
    headers: dict[str, str] = {}  # msgspec makes a new dict for each
    cookies: list[str] = []
    body: str | None = None
    isBase64Encoded: bool = False  # noqa: N815 (AWS's name)


_decoder = msgspec.json.Decoder(_Event)
_MAX_BASE64 = 4 * (limits.MAX_BODY_WITH_IMAGES // 3 + 1)


def to_scope(event: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the ASGI HTTP scope and the body of an event.

    A body over `MAX_BODY_WITH_IMAGES` bytes is truncated to a length that is still over the limit,
    so that the application rejects it.

    Raises:
        InvalidEvent: the event does not describe an HTTP request.

    """
    try:
        fields = _decoder.decode(event)
        text = fields.body or ""
        if fields.isBase64Encoded:
            body = base64.b64decode(text[:_MAX_BASE64], validate=True)
        else:
            body = text[: limits.MAX_BODY_WITH_IMAGES + 1].encode()
    except (msgspec.DecodeError, UnicodeError, binascii.Error, RecursionError) as error:
        raise InvalidEvent(f"not an HTTP request: {error}") from None
    http = fields.requestContext.http
    path = fields.rawPath or http.path
    headers = [
        (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in fields.headers.items()
    ]
    if fields.cookies:
        headers.append((b"cookie", "; ".join(fields.cookies).encode("latin-1", "replace")))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": http.protocol.removeprefix("HTTP/"),
        "method": http.method.upper(),
        "scheme": fields.headers.get("x-forwarded-proto", "https"),
        "path": unquote(path),
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": fields.rawQueryString.encode("utf-8", "replace"),
        "root_path": "",
        "headers": headers,
        "client": (http.sourceIp, 0) if http.sourceIp else None,
        "server": (fields.requestContext.domainName, 443),
        "state": {},
    }
    return scope, body
