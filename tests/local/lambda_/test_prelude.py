"""The response of a function, as bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.lambda_.prelude import Head, InvalidResponse, PreludeParser, whole

PRELUDE = b'{"statusCode":201,"headers":{"a":"b"},"cookies":["c=1"]}' + b"\0" * 8
BODY = b"body\0\0with zeros" + b"\0" * 9


def _feed(data: bytes, cuts: list[int]) -> tuple[Head, bytes]:
    edges = [0, *sorted(cuts), len(data)]
    parser = PreludeParser()
    for start, end in pairwise(edges):
        if parsed := parser.feed(data[start:end]):
            return parsed[0], parsed[1] + data[end:]
    raise AssertionError


@given(st.lists(st.integers(0, len(PRELUDE + BODY)), max_size=5))
def test_prelude_at_any_cuts(cuts: list[int]) -> None:
    """However the bytes are cut, head and body are the same."""
    assert _feed(PRELUDE + BODY, cuts) == (Head(201, {"a": "b"}, ("c=1",)), BODY)


def test_prelude_byte_by_byte() -> None:
    """Bytes that arrive one at a time give the same result."""
    assert _feed(PRELUDE + BODY, list(range(len(PRELUDE + BODY)))) == (
        Head(201, {"a": "b"}, ("c=1",)),
        BODY,
    )


@pytest.mark.parametrize(
    "text", [b"not json", b"[]", b'{"statusCode":"200"}', b'{"statusCode":99}', b'{"headers":1}']
)
def test_bad_preludes(text: bytes) -> None:
    """A malformed prelude is an error."""
    with pytest.raises(InvalidResponse):
        PreludeParser().feed(text + b"\0" * 8)


def test_endless_prelude() -> None:
    """A prelude without an end is an error after 1 MB."""
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
    """A buffered response is read as function URLs read it."""
    assert whole(result) == (head, body)


@pytest.mark.parametrize("result", [b"{", b'{"statusCode":200,"body":1}'])
def test_bad_whole_answers(result: bytes) -> None:
    """A buffered response that is not JSON, or whose body is not a string, is an error."""
    with pytest.raises(InvalidResponse):
        whole(result)
