"""Turns the event of a caller through IAM into that of a function URL. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from lambda_fn.control import sizes
from lambda_fn.control.auth import INVOKED

_MAX_WORD = 256


def as_url_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the function URL's form of a caller's event.

    Missing, malformed or too long members are passed on in a form that the application rejects.
    """
    method, path = (
        _text(event.get("method", "GET"), _MAX_WORD).upper(),
        _text(event.get("path", "/"), sizes.PATH),
    )
    headers = {
        "content-type": "application/json",
        "host": "lambda",
        "accept": _text(event.get("accept", "*/*"), _MAX_WORD),
    }
    return {
        INVOKED: True,
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": _text(event.get("query", ""), sizes.QUERY),
        "headers": headers,
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": ""}},
        "body": _body(event.get("body")),
        "isBase64Encoded": False,
    }


def _body(value: Any) -> str:
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except RecursionError:
        return "["  # invalid JSON, which is rejected like text that is nested too deeply
    return _text(text, sizes.REPLAY_BODY)


def _text(value: Any, longest: int) -> str:
    """Return text that can be encoded, truncated to a length that is still over the limit."""
    text = value if isinstance(value, str) else f"<{type(value).__name__}>"
    return text[: longest + 1].encode("utf-8", "replace").decode()
