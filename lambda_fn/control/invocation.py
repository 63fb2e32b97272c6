"""The event of a caller that IAM let in, as a function URL's. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from lambda_fn.control import sizes
from lambda_fn.control.auth import INVOKED

_WORD = 256


def as_url_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the function URL's form of a caller's event; what is missing, odd or too long in it becomes an ordinary
    refusal.
    """
    method, path = _text(event.get("method", "GET"), _WORD).upper(), _text(event.get("path", "/"), sizes.PATH)
    headers = {
        "content-type": "application/json",
        "host": "lambda",
        "accept": _text(event.get("accept", "*/*"), _WORD),
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


def _body(given: Any) -> str:
    if given is None:
        return ""
    try:
        text = given if isinstance(given, str) else json.dumps(given)
    except RecursionError:
        return "["  # no JSON, as one that was written nested so deeply is none
    return _text(text, sizes.REPLAY_BODY)


def _text(given: Any, most: int) -> str:
    """Return what can be encoded, and of what is too long enough to tell."""
    text = given if isinstance(given, str) else f"<{type(given).__name__}>"
    return text[: most + 1].encode("utf-8", "replace").decode()
