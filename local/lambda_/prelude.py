"""Reads the response of a function as it arrives. Pure.

A response has one of three forms:

- streamed with the content type application/vnd.awslambda.http-integration-response: a JSON object
  with status, headers and cookies, then eight NUL bytes, then the body;
- streamed with another content type: the body;
- not streamed: one JSON value, as in "Response payload format" of the Lambda developer guide.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"
_END = b"\0" * 8
# In bytes, far more than HTTP servers accept as headers.
_LONGEST = 1 << 20


class InvalidResponse(Exception):
    """The function's response cannot be read. AWS answers 502."""


@dataclass(frozen=True)
class Head:
    """Status and headers. Each cookie is the value of one Set-Cookie header."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


class PreludeParser:
    """Finds the end of the prelude, however the bytes are cut."""

    def __init__(self) -> None:
        """Nothing has been read yet."""
        self._seen = bytearray()

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return the head and the first bytes of the body once the prelude is complete, else None.

        It must not be called after the prelude is complete.

        Raises InvalidResponse.
        """
        start = max(0, len(self._seen) - len(_END) + 1)
        self._seen += data
        at = self._seen.find(_END, start)
        if at < 0:
            if len(self._seen) > _LONGEST:
                raise InvalidResponse(f"no end of the prelude within {_LONGEST} bytes")
            return None
        return _head(bytes(self._seen[:at])), bytes(self._seen[at + len(_END) :])


def _head(text: bytes) -> Head:
    try:
        prelude = json.loads(text)
    except ValueError as error:
        raise InvalidResponse(f"the prelude is not JSON: {text[:200]!r}") from error
    if not isinstance(prelude, dict):
        raise InvalidResponse("the prelude is not a JSON object")
    return _from_object(prelude)


def _from_object(prelude: dict[str, Any]) -> Head:
    status = prelude.get("statusCode", 200)
    headers = prelude.get("headers") or {}
    if not isinstance(status, int) or not 100 <= status <= 599 or not isinstance(headers, dict):
        raise InvalidResponse("the prelude has no valid statusCode or headers")
    cookies = tuple(str(cookie) for cookie in prelude.get("cookies") or ())
    return Head(status, {str(name): str(value) for name, value in headers.items()}, cookies)


def whole(result: bytes) -> tuple[Head, bytes]:
    """Return head and body of a response that was not streamed.

    Raises InvalidResponse.
    """
    try:
        value = json.loads(result) if result else None
    except ValueError as error:
        raise InvalidResponse(f"the response is not JSON: {result[:200]!r}") from error
    if not isinstance(value, dict) or "statusCode" not in value:
        text = value if isinstance(value, str) else json.dumps(value)
        return Head(200, {"content-type": "application/json"}), text.encode()
    body = value.get("body") or ""
    if not isinstance(body, str):
        raise InvalidResponse("the response's body is not a string")
    head = _from_object({"headers": {"content-type": "application/json"}, **value})
    return head, base64.b64decode(body) if value.get("isBase64Encoded") else body.encode()
