"""The event of a caller that IAM let in, as a function URL's. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from lambda_fn.control.authenticate import INVOKED


def as_url_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Give the function URL's form of a caller's event; what is missing or odd in it becomes an ordinary refusal."""
    method, path = str(event.get("method", "GET")).upper(), str(event.get("path", "/"))
    body = event.get("body")
    text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    headers = {"content-type": "application/json", "host": "lambda", "accept": str(event.get("accept", "*/*"))}
    return {
        INVOKED: True,
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": str(event.get("query", "")),
        "headers": headers,
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": ""}},
        "body": text,
        "isBase64Encoded": False,
    }
