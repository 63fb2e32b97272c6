"""The event of a function URL's invocation."""

import base64
import json

import pytest

from local.lambda_.event import UrlRequest, build


def _event(**changes: object) -> dict[str, object]:
    values = {
        "method": "POST",
        "path": "/a%20b",
        "query": "x=1&x=2&y=%C3%A4",
        "headers": (
            ("Content-Type", "application/json"),
            ("X-A", "1"),
            ("x-a", "2"),
            ("Cookie", "a=1; b=2"),
        ),
        "body": b'{"a":"\xc3\xa4"}',
        "source_ip": "127.0.0.1",
        "host": "id.lambda-url.us-east-1.on.aws",
        "received": 1700000000.5,
    }
    request = UrlRequest(**{**values, **changes})  # type: ignore[arg-type]
    event: dict[str, object] = json.loads(build(request, "rid", "Root=1"))
    return event


def test_event() -> None:
    """The event has payload format 2.0.

    It has the raw path, joined lower-case headers, separate cookies, and text bodies as text.
    """
    event = _event()
    assert event["version"] == "2.0"
    assert (event["rawPath"], event["rawQueryString"]) == ("/a%20b", "x=1&x=2&y=%C3%A4")
    assert event["queryStringParameters"] == {"x": "1,2", "y": "ä"}
    assert event["cookies"] == ["a=1", "b=2"]
    headers = event["headers"]
    assert isinstance(headers, dict)
    assert headers["x-a"] == "1,2"
    assert headers["host"] == "id.lambda-url.us-east-1.on.aws"
    assert "cookie" not in headers
    assert (event["body"], event["isBase64Encoded"]) == ('{"a":"ä"}', False)
    context = event["requestContext"]
    assert isinstance(context, dict)
    assert context["requestId"] == "rid"
    assert context["timeEpoch"] == 1700000000500
    assert context["time"] == "14/Nov/2023:22:13:20 +0000"
    assert context["http"]["method"] == "POST"


@pytest.mark.parametrize(
    ("kind", "body"), [("application/octet-stream", b"abc"), ("application/json", b"\xff")]
)
def test_binary_bodies(kind: str, body: bytes) -> None:
    """A body that is not text is in base64."""
    event = _event(headers=(("content-type", kind),), body=body)
    assert (event["body"], event["isBase64Encoded"]) == (base64.b64encode(body).decode(), True)


def test_no_body() -> None:
    """Without a body the event has none."""
    assert "body" not in _event(body=b"")
