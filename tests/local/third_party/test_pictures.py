"""What the stand-ins see of an image."""

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.third_party.pictures import describe
from tests.support import pictures


def png(pixels: bytes, *, kind: int = 2, bits: int = 8) -> str:
    """Return the data URL of a PNG of 32x16 with these decompressed pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 32, 16, bits, kind, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"tEXt", b"a"), chunk(b"IDAT", zlib.compress(pixels)))
    return pictures.data_url(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("row_filter", range(5))
@pytest.mark.parametrize("kind", [2, 6])
def test_a_png(row_filter: int, kind: int) -> None:
    """A PNG has a size and a first colour, whatever the filter of its first row."""
    url = png(bytes([row_filter, 255, 0, 16, 7, 8, 9]), kind=kind)
    assert describe(url) == "a PNG of 32x16 that begins in #ff0010"


@pytest.mark.parametrize(
    "url",
    [
        png(b"\0\xff"),
        png(b"\0\xff\0\0\xff", kind=3),
        png(b"\0\xff\0\0\xff", bits=16),
        "data:image/png;base64,!",
    ],
)
def test_another_png(url: str) -> None:
    """What is not read is an image all the same."""
    assert describe(url) == "an image (PNG)"


@given(st.binary(max_size=200), st.integers(0, 120))
def test_anything(data: bytes, cut: int) -> None:
    """Bytes that are no picture, or a part of one, are an image."""
    whole = base64.b64decode(png(b"\0\xff\0\x10").partition(",")[2])
    for picture in (data, whole[:cut], whole[:cut] + data):
        assert describe(pictures.data_url(picture, "gif")).startswith(("an image (GIF)", "a GIF"))
