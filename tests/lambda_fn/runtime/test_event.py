"""Events become ASGI scopes."""

import base64
import json

import pytest

from lambda_fn.runtime.event import InvalidEvent, to_scope
from tests.support.runtime_api import EVENT


def test_scope_of_an_event() -> None:
    """An event becomes the scope of its request."""
    scope, body = to_scope(json.dumps(EVENT).encode())
    assert body == b"hello"
    assert (scope["method"], scope["path"], scope["raw_path"]) == (
        "POST",
        "/v1/café",
        b"/v1/caf%C3%A9",
    )
    assert (scope["query_string"], scope["http_version"], scope["client"]) == (
        b"a=1&b=%20",
        "1.1",
        ("10.0.0.1", 0),
    )
    assert dict(scope["headers"])[b"host"] == b"x"
    assert dict(scope["headers"])[b"cookie"] == b"a=1; b=2"


def test_scope_of_a_binary_body() -> None:
    """A body in base 64 is decoded."""
    event = {**EVENT, "body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    assert to_scope(json.dumps(event).encode())[1] == b"\x00\xff"


@pytest.mark.parametrize(
    "event", [b"", b"{}", b'"test"', b'{"requestContext":{"http":{}}}', b"[" * 10_000, b"\xff"]
)
def test_other_events_are_refused(event: bytes) -> None:
    """A test event of the console, and bytes that are no event, are rejected."""
    with pytest.raises(InvalidEvent):
        to_scope(event)
