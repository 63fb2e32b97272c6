"""What a function answers, as pure bytes; and the event it is given."""

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.lambda_.event import UrlRequest, build
from local.lambda_.prelude import Head, InvalidResponse, PreludeParser, whole

PRELUDE = b'{"statusCode":201,"headers":{"a":"b"},"cookies":["c=1"]}' + b"\0" * 8
BODY = b"body\0\0with zeros" + b"\0" * 9


def _feed(data: bytes, cuts: list[int]) -> tuple[Head, bytes]:
    edges = [0, *sorted(cuts), len(data)]
    parser = PreludeParser()
    for start, end in pairwise(edges):
        if found := parser.feed(data[start:end]):
            return found[0], found[1] + data[end:]
    raise AssertionError


@given(st.lists(st.integers(0, len(PRELUDE + BODY)), max_size=5))
def test_prelude_at_any_cuts(cuts: list[int]) -> None:
    """However the bytes are cut, head and body are the same."""
    assert _feed(PRELUDE + BODY, cuts) == (Head(201, {"a": "b"}, ("c=1",)), BODY)


def test_prelude_byte_by_byte() -> None:
    """One byte at a time gives the same."""
    assert _feed(PRELUDE + BODY, list(range(len(PRELUDE + BODY)))) == (Head(201, {"a": "b"}, ("c=1",)), BODY)


@pytest.mark.parametrize("text", [b"not json", b"[]", b'{"statusCode":"200"}', b'{"statusCode":99}', b'{"headers":1}'])
def test_bad_preludes(text: bytes) -> None:
    """What is no prelude is refused."""
    with pytest.raises(InvalidResponse):
        PreludeParser().feed(text + b"\0" * 8)


def test_endless_prelude() -> None:
    """A prelude without an end is refused after 1 MB."""
    parser = PreludeParser()
    assert parser.feed(b"x" * 2**20) is None
    with pytest.raises(InvalidResponse):
        parser.feed(b"x")


@pytest.mark.parametrize(
    ("result", "head", "body"),
    [
        (b'{"statusCode":404,"body":"no"}', Head(404, {"content-type": "application/json"}), b"no"),
        (
            b'{"statusCode":200,"headers":{"content-type":"x"},"body":"aGk=","isBase64Encoded":true}',
            Head(200, {"content-type": "x"}),
            b"hi",
        ),
        (b'{"a":1}', Head(200, {"content-type": "application/json"}), b'{"a": 1}'),
        (b'"text"', Head(200, {"content-type": "application/json"}), b"text"),
    ],
)
def test_whole_answers(result: bytes, head: Head, body: bytes) -> None:
    """An answer that is not streamed is read as function URLs read it."""
    assert whole(result) == (head, body)


@pytest.mark.parametrize("result", [b"{", b'{"statusCode":200,"body":1}'])
def test_bad_whole_answers(result: bytes) -> None:
    """An answer that is no JSON, or has a body that is no string, is refused."""
    with pytest.raises(InvalidResponse):
        whole(result)


def _event(**changes: object) -> dict[str, object]:
    values = {
        "method": "POST",
        "path": "/a%20b",
        "query": "x=1&x=2&y=%C3%A4",
        "headers": (("Content-Type", "application/json"), ("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1; b=2")),
        "body": b'{"a":"\xc3\xa4"}',
        "source_ip": "127.0.0.1",
        "host": "id.lambda-url.us-east-1.on.aws",
        "received": 1700000000.5,
    }
    found: dict[str, object] = json.loads(build(UrlRequest(**{**values, **changes}), "rid", "Root=1"))  # type: ignore[arg-type]
    return found


def test_event() -> None:
    """The event is payload format 2.0: raw path, joined lower-case headers, cookies apart, text bodies as text."""
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


@pytest.mark.parametrize(("kind", "body"), [("application/octet-stream", b"abc"), ("application/json", b"\xff")])
def test_binary_bodies(kind: str, body: bytes) -> None:
    """A body that is not text arrives in base64."""
    event = _event(headers=(("content-type", kind),), body=body)
    assert (event["body"], event["isBase64Encoded"]) == (base64.b64encode(body).decode(), True)


def test_no_body() -> None:
    """Without a body the event has none."""
    assert "body" not in _event(body=b"")
