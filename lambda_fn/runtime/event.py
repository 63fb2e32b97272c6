"""Converts an event to an ASGI scope. Pure.

The event is a function URL's (payload format 2.0), or this project's own, by which a queued
response is run. A function URL puts what its caller sends into members of its own event, so only
who may invoke the function can send that one. Its scope has the type `RUN`.

Source: "Invoking Lambda function URLs", AWS Lambda Developer Guide. Missing fields and unknown
fields are accepted.
"""

import base64
import binascii
from typing import Any
from urllib.parse import unquote

import msgspec

from lambda_fn import limits
from lambda_fn.ids import is_request_id


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


class _Run(msgspec.Struct):
    v: int
    run: str


class _Event(msgspec.Struct):
    requestContext: _RequestContext | None = None  # noqa: N815 (AWS's name)
    rawPath: str = ""  # noqa: N815 (AWS's name)
    rawQueryString: str = ""  # noqa: N815 (AWS's name)
    headers: dict[str, str] = {}  # msgspec makes a new dict for each
    cookies: list[str] = []
    body: str | None = None
    isBase64Encoded: bool = False  # noqa: N815 (AWS's name)
    sluice: _Run | None = None


RUN = "sluice.run"
"""The type of the scope of an event that runs a queued response, whose id is `sluice.run`."""
RUN_VERSION = 1


def run_event(response_id: str) -> dict[str, object]:
    """Return the event that runs a queued response."""
    return {"sluice": {"v": RUN_VERSION, "run": response_id}}


def ended_event(response_id: str, owner: str) -> dict[str, object]:
    """Return the event that tells the keeper of background responses of one that has ended."""
    return {"sluice": {"v": RUN_VERSION, "ended": response_id, "owner": owner}}


_decoder = msgspec.json.Decoder(_Event)
_MAX_BASE64 = 4 * (limits.MAX_BODY_WITH_IMAGES // 3 + 1)


def to_scope(event: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the ASGI HTTP scope and the body of an event.

    A body over `MAX_BODY_WITH_IMAGES` bytes is truncated to a length that is still over the limit,
    so that the application rejects it.

    Raises:
        InvalidEvent: the event describes neither an HTTP request nor a run.

    """
    try:
        fields = _decoder.decode(event)
        if fields.requestContext is None:
            return _run_scope(fields.sluice), b""
        text = fields.body or ""
        if fields.isBase64Encoded:
            body = base64.b64decode(text[:_MAX_BASE64], validate=True)
        else:
            body = text[: limits.MAX_BODY_WITH_IMAGES + 1].encode()
    except (msgspec.DecodeError, UnicodeError, binascii.Error, RecursionError) as error:
        raise InvalidEvent(f"not an HTTP request: {error}") from None
    http = fields.requestContext.http
    path = fields.rawPath or http.path
    headers = [(_header(name.lower()), _header(value)) for name, value in fields.headers.items()]
    if fields.cookies:
        headers.append((b"cookie", _header("; ".join(fields.cookies))))
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


def _header(text: str) -> bytes:
    """Return a text of a header. One that Latin-1 lacks is UTF-8: two keys must not become one."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _run_scope(run: _Run | None) -> dict[str, Any]:
    if run is None:
        raise InvalidEvent("not an HTTP request: it has no requestContext")
    if run.v != RUN_VERSION or not is_request_id(run.run):
        raise InvalidEvent("not a run of a response that this version knows")
    return {"type": RUN, "asgi": {"version": "3.0"}, RUN: run.run, "state": {}}
