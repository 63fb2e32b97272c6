"""What the stand-ins see of an image: its kind, and the size and first colour of a PNG. Pure."""

import base64
import binascii
import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8xIIBB")  # width, height, bits, colour type; behind the signature
_RGB = {2: 3, 6: 4}  # bytes of a pixel by colour type, with and without alpha
_START = 64  # bytes of pixels that are decompressed


def describe(url: str) -> str:
    """Return what a data URL shows, such as `a PNG of 32x32 that begins in #ff0000`."""
    head, _, data = url.partition(",")
    kind = head.removeprefix("data:image/").partition(";")[0].upper()
    try:
        picture = base64.b64decode(data, validate=True)
        width, height, colour = _png(picture)
    except (ValueError, binascii.Error, struct.error, zlib.error):
        return f"an image ({kind})"
    return f"a {kind} of {width}x{height} that begins in {colour}"


def _png(data: bytes) -> tuple[int, int, str]:
    """Return width, height and first pixel of a PNG of 8-bit colours. Raises ValueError and others.

    The filters of the first pixel have nothing before it to add, so its bytes are its colour.
    """
    if not data.startswith(_SIGNATURE):
        raise ValueError("no PNG")
    width, height, bits, kind = _HEADER.unpack_from(data, len(_SIGNATURE))
    if bits != 8 or kind not in _RGB:
        raise ValueError("other colours")
    compressed, place = b"", len(_SIGNATURE)
    while place < len(data) and not compressed:
        size, name = struct.unpack_from(">I4s", data, place)
        if name == b"IDAT":
            compressed = data[place + 8 : place + 8 + size]
        place += 12 + size
    pixels = zlib.decompressobj().decompress(compressed, _START)
    if len(pixels) < 1 + _RGB[kind]:
        raise ValueError("no pixels")
    return width, height, f"#{pixels[1:4].hex()}"
