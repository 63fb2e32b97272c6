"""The beginnings of images, made by hand: as much of each format as tells the picture's size."""

import base64
import struct
import zlib


def png(width: int = 3, height: int = 2) -> bytes:
    """Return a whole PNG of one colour. Its rows may be fewer than it says if they are many."""
    rows = zlib.compress(b"".join(b"\0" + bytes(3 * width) for _ in range(min(height, 4))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", rows),
            (b"IEND", b""),
        )
    )


def gif(width: int = 3, height: int = 2, *, own: tuple[int, int] = (1, 1)) -> bytes:
    """Return the beginning of a GIF: a screen, a colour table, a comment, and a picture."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"\x21\xfe\x03abc\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, *own, 0)


def jpeg(width: int = 3, height: int = 2, *, segments: int = 2) -> bytes:
    """Return a JPEG up to its picture: other segments, and the frame header."""
    other = b"\xff\xe1" + struct.pack(">H", 1002) + bytes(1000)
    frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + bytes(3)
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes(5)
    return b"\xff\xd8" + other * segments + b"\xff\xff\xc2" + frame + scan


def webp(kind: bytes, width: int = 3, height: int = 2) -> bytes:
    """Return the beginning of a WebP of the kind `VP8 `, `VP8L` or `VP8X`."""
    body = {
        b"VP8 ": bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height),
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        b"VP8X": bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
    }[kind]
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + bytes(4) + body


def data_url(data: bytes, kind: str = "png") -> str:
    """Return a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def image(url: str) -> dict[str, object]:
    """Return a content part."""
    return {"type": "image_url", "image_url": {"url": url}}
