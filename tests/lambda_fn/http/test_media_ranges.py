"""`Accept` headers, as RFC 9110 reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn.http.media_ranges import quality

UTF8 = {"charset": "utf-8"}


@pytest.mark.parametrize(
    ("accept", "text", "json"),
    [
        ("", 1, 1),
        ("*/*", 1, 1),
        ("text/plain", 1, 0),
        ("text/*;q=0.3, text/plain;q=0.7, */*;q=0.5", 0.7, 0.5),
        ("text/*, text/plain;q=0", 0, 0),
        ("text/plain ; Q=0.5 , */* ; q=0.1", 0.5, 0.1),
        ("TEXT/PLAIN;CHARSET=UTF-8", 1, 0),
        ('text/plain;charset="utf-8"', 1, 0),
        ("text/plain;charset=utf-16, */*;q=0.2", 0.2, 0.2),
        ("text/plain;q=0.4, text/plain;charset=utf-8;q=0.9", 0.9, 0),
        ("text/plain;q=1;level=1", 1, 0),
        ('text/plain;a="x, application/json";q=0.5, */*;q=0.1', 0.1, 0.1),
        ("text/plain;q=.5, text/html", 0.5, 0),
        # What is malformed is as if it were not there.
        ("text/plain;q=2, */*;q=0.1", 0.1, 0.1),
        ("text/plain;q=high", 1, 1),
        ("text, application/json", 0, 1),
        ("*, text/plain;q=0.3", 0.3, 0),
        (",, ,", 1, 1),
        ('"text/plain', 1, 1),
        # Browsers, and Java's own client.
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 0.8, 0.8),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", 0.2, 0.2),
    ],
)
def test_quality(accept: str, text: float, json: float) -> None:
    """The most specific range decides, and its weight is the result."""
    assert quality(accept, "text/plain", UTF8) == text
    assert quality(accept, "application/json", UTF8) == json


PIECES = st.sampled_from([*'/,;="\\* \tq01.', "text", "plain", "q=0.5", "text/plain", "*/*"])


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_header(accept: str) -> None:
    """Any header has a weight. A response of any type is acceptable beside `*/*`."""
    assert 0 <= quality(accept, "text/plain", UTF8) <= 1
    assert quality(f"*/*, {accept}" if '"' not in accept else "*/*", "a/b", {}) == 1


@pytest.mark.parametrize("piece", ["a/b;", ' ;q="', "\t", "a/b ;  ", '\\"', "a/b,"])
def test_long_headers(piece: str) -> None:
    """A long header takes linear time: the test ends."""
    assert 0 <= quality(piece * 20_000, "text/plain", UTF8) <= 1
