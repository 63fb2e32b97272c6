"""Which responses a distribution compresses, and how."""

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloudfront.compression import compresses, compressor, is_compressible

OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ANSWER = {"Content-Type": "text/css; charset=utf-8", "Content-Length": "1000"}
GZIP = {"Accept-Encoding": "deflate, gzip;q=0.5"}


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ({"Compress": True, "CachePolicyId": OPTIMIZED}, True),
        ({"Compress": "true", "CachePolicyId": "own"}, True),
        ({"Compress": False, "CachePolicyId": OPTIMIZED}, False),
        ({"Compress": True, "CachePolicyId": DISABLED}, False),
        ({"Compress": True, "CachePolicyId": "plain"}, False),
        ({"Compress": True}, False),
    ],
)
def test_behaviours_that_compress(behaviour: dict[str, object], expected: bool) -> None:
    """The behaviour and its cache policy must both allow it."""
    keys = "ParametersInCacheKeyAndForwardedToOrigin"
    policies: dict[str, dict[str, Any]] = {
        "own": {keys: {"EnableAcceptEncodingGzip": True}},
        "plain": {keys: {}},
    }
    assert compresses(behaviour, policies) is expected


@pytest.mark.parametrize(
    ("status", "answer", "viewer", "expected"),
    [
        (200, {}, {}, True),
        (404, {"Content-Type": "application/json"}, {}, True),
        (206, {}, {}, False),
        (200, {"Content-Type": "image/png"}, {}, False),
        (200, {"Content-Type": "text/event-stream"}, {}, False),
        (200, {"Content-Length": "999"}, {}, False),
        (200, {"Content-Length": "10000001"}, {}, False),
        (200, {"Content-Length": ""}, {}, False),
        (200, {"Content-Encoding": "br"}, {}, False),
        (200, {}, {"Accept-Encoding": "br"}, False),
        (200, {}, {"Accept-Encoding": "gzip;q=0"}, False),
        (200, {}, {"Accept-Encoding": "*"}, True),
    ],
)
def test_responses_that_are_compressed(
    status: int, answer: dict[str, str], viewer: dict[str, str], expected: bool
) -> None:
    """Texts of 1 kB to 10 MB with a known length are, for viewers that take gzip."""
    assert is_compressible(status, ANSWER | answer, GZIP | viewer) is expected


@given(st.lists(st.binary(max_size=400)), st.sampled_from(["", '"1"', 'W/"1"']))
def test_a_compressed_response(parts: list[bytes], tag: str) -> None:
    """However it is cut, its parts make the whole, and its headers tell of the encoding."""
    headers = {"Content-Length": "1000", "Vary": "Origin"} | ({"ETag": tag} if tag else {})
    made = compressor(headers)
    sent = b"".join([*(made.compress(part) for part in parts), made.flush()])
    assert gzip.decompress(sent) == b"".join(parts)
    assert headers == {
        "Content-Encoding": "gzip",
        "Vary": "Origin, Accept-Encoding",
        **({"ETag": 'W/"1"'} if tag else {}),
    }
