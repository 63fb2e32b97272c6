"""Bodies with a content-encoding: decoded within a bound, or rejected by name."""

import contextlib
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn import limits
from lambda_fn.errors import InvalidRequest, UnsupportedEncoding
from lambda_fn.http.content_encoding import ACCEPTED, TooLarge, decoded
from tests.support.bad_requests import GOOD
from tests.support.function import FIRST, REST, Call, StandIn


def raw_deflate(data: bytes) -> bytes:
    """Return a deflate stream without zlib's head."""
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


Pack = Callable[[bytes], bytes]
PACK: dict[str, Pack] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
WAYS: dict[str, Pack] = {
    "identity": lambda data: data,
    ", identity ,": lambda data: data,
    "GZIP": gzip.compress,
    " x-gzip ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "gzip, identity": gzip.compress,
    "deflate, gzip": lambda data: gzip.compress(zlib.compress(data)),
    "gzip,gzip,gzip": lambda data: gzip.compress(gzip.compress(gzip.compress(data))),
}


@pytest.mark.parametrize("header", WAYS)
def test_decoded(header: str) -> None:
    """Each coding is undone, from the last of the list to the first."""
    data = b'{"model":"m"}' * 50
    assert decoded(WAYS[header](data), header, 1000) == data


@given(st.binary(max_size=300), st.sampled_from(list(PACK)), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_round_trip(data: bytes, name: str, members: int) -> None:
    """What a library encodes is decoded to the byte. A gzip file may have several members."""
    if name == "deflate":
        members = 1
    packed = PACK[name](data) * members
    assert decoded(packed, name, 900) == data * members
    if name != "deflate":
        assert decoded(packed + bytes(7), name, 900) == data * members  # padding


@given(st.binary(min_size=1, max_size=200), st.sampled_from(list(PACK)))
@settings(max_examples=200, deadline=None)
def test_any_bytes(data: bytes, name: str) -> None:
    """Any bytes are decoded or rejected, also a damaged stream."""
    packed = bytearray(PACK[name](data))
    packed[len(data) % len(packed)] ^= 255
    for body in (data, bytes(packed), PACK[name](data)[:-1], PACK[name](data) + b"x"):
        with contextlib.suppress(InvalidRequest):
            decoded(body, name, 10_000)


@pytest.mark.parametrize("name", list(PACK))
def test_the_bound(name: str) -> None:
    """A body of the bound is taken, one byte more is not, however much would follow."""
    assert len(decoded(PACK[name](bytes(5000)), name, 5000)) == 5000
    for size in (5001, 5_000_000):
        with pytest.raises(TooLarge):
            decoded(PACK[name](bytes(size)), name, 5000)
    with pytest.raises(TooLarge):  # the inner bomb is larger than the bound itself
        decoded(gzip.compress(PACK[name](bytes(10_000_000))), f"{name}, gzip", 5000)


def test_many_members() -> None:
    """A file of many empty members is rejected before each of them is copied."""
    with pytest.raises(InvalidRequest, match="more than 64 members"):
        decoded(gzip.compress(b"") * 50_000, "gzip", limits.MAX_BODY)


@pytest.mark.parametrize(
    "header", ["br", "zstd", "compress", "gzip, br", "aws-chunked", "utf-8", "gzip;q=1", "*"]
)
def test_what_is_not_supported(header: str) -> None:
    """Another coding is a 415 that names it and lists the codings that are supported."""
    with pytest.raises(UnsupportedEncoding) as refusal:
        decoded(b"x", header, 1000)
    assert (refusal.value.status, refusal.value.headers) == (415, {"accept-encoding": ACCEPTED})
    assert f"'{header.rpartition(', ')[2]}'" in refusal.value.message


def test_codings_upon_codings() -> None:
    """A body is decoded three times at most."""
    with pytest.raises(UnsupportedEncoding, match="more than 3"):
        decoded(b"x", "gzip, gzip, gzip, gzip", 1000)


@pytest.mark.usefixtures("account")
async def test_a_compressed_request(call: Call, sagemaker: StandIn) -> None:
    """A compressed request is answered. A bomb, a broken body and an unknown coding are not."""
    sagemaker.script = [FIRST, REST]
    body = json.dumps(GOOD).encode()

    async def ask(data: bytes, coding: str, **more: Any) -> Any:
        return await call(body=data, more={"content-encoding": coding}, **more)

    assert (await ask(gzip.compress(body), "gzip")).status == 200
    assert sagemaker.bodies[0]["messages"] == GOOD["messages"]
    bomb = await ask(gzip.compress(bytes(limits.MAX_BODY + 1)), "gzip")
    assert (bomb.status, bomb.error["code"]) == (413, "request_too_large")
    broken = await ask(body, "gzip")
    assert (broken.status, broken.error["code"]) == (400, "invalid_encoding")
    unknown = await ask(body, "br")
    assert (unknown.status, unknown.headers["accept-encoding"]) == (415, ACCEPTED)
    # Nobody's bytes are decoded before the key is checked.
    for key in (None, "sk-wrong"):
        assert (await ask(gzip.compress(bytes(5_000_000)), "gzip", key=key)).status == 401
