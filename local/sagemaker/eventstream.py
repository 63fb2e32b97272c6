"""AWS event stream frames, encoded. Pure.

A frame, big-endian: u32 total length, u32 length of the headers, u32 CRC-32 of those eight bytes,
headers, payload, u32 CRC-32 of all before. A header: u8 length of the name, name, u8 7 (a string),
u16 length of the value, value.

Source: "Event stream encoding" of the Amazon Transcribe and Smithy documentation.
"""

import json
import struct
import zlib
from collections.abc import Mapping

_PRELUDE = struct.Struct(">II")
_CRC = struct.Struct(">I")
_STRING = 7


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one frame."""
    block = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    return _frame(block, payload)


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack(">B", len(name)) + name + struct.pack(">BH", _STRING, len(value)) + value


def _frame(block: bytes, payload: bytes) -> bytes:
    # 16 bytes of lengths and checksums.
    prelude = _PRELUDE.pack(len(block) + len(payload) + 16, len(block))
    message = b"".join((prelude, _CRC.pack(zlib.crc32(prelude)), block, payload))
    return message + _CRC.pack(zlib.crc32(message))


_PAYLOAD_PART = b"".join(
    _header(name, value)
    for name, value in (
        (b":event-type", b"PayloadPart"),
        (b":content-type", b"application/octet-stream"),
        (b":message-type", b"event"),
    )
)


def payload_part(payload: bytes) -> bytes:
    """Return the frame of a part of a SageMaker endpoint's response."""
    return _frame(_PAYLOAD_PART, payload)


def exception(kind: str, message: str, **members: str) -> bytes:
    """Return the frame of a failure within the stream.

    `kind` is `ModelStreamError` (with ErrorCode) or `InternalStreamFailure`.
    """
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return encode(headers, json.dumps({"Message": message, **members}).encode())
