"""The AWS event stream, as bytes in and frames out.

A frame is: u32 length of all, u32 length of the headers, u32 CRC of those eight bytes, the headers, the payload, u32
CRC of all before; big-endian. A header is: u8 length of the name, the name, u8 type, the value; strings (type 7) have
a u16 length.
Source: "Event stream encoding", Amazon Transcribe Developer Guide; botocore's parser, against which the tests hold
this one.
"""

from functools import lru_cache
from struct import Struct
from zlib import crc32

import msgspec

_PRELUDE = Struct(">III")
_U16 = Struct(">H")
_U32 = Struct(">I")
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # bytes of a value, by type; 6 and 7 say it themselves
_OVERHEAD = 16
MAX_FRAME = 24 * 1024 * 1024
"""Bytes of one frame; botocore's limit too."""
_SMALL = 512  # bytes of a header block that is remembered: all parts of an answer have the same one


class EventStreamError(Exception):
    """The bytes are no event stream, or were damaged."""


class Frame(msgspec.Struct, frozen=True):
    """One message. `headers` holds those of type string; others are of no use here. Frames share them: read only."""

    headers: dict[str, str]
    payload: bytes


class Decoder:
    """Collects bytes, cut anywhere, and gives the frames that are whole."""

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = 0
        self._damage = ""

    @property
    def damaged(self) -> bool:
        """Whether what follows the frames given so far is no event stream; feeding more raises."""
        return bool(self._damage)

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet; at the end of a stream anything but 0 means that it was cut."""
        return self._size

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes, give what they complete.

        Raises:
            EventStreamError: a checksum or a length is wrong, and no whole frame is left to give before it. The decoder
                is of no further use.

        """
        frames: list[Frame] = []
        if not self._damage:
            self._parts.append(data)
            self._size += len(data)
            if self._size >= self._wanted:
                whole = data if len(self._parts) == 1 else b"".join(self._parts)
                rest = whole[self._read(whole, frames) :]
                self._parts = [rest] if rest else []
                self._size = len(rest)
        if self._damage and not frames:
            raise EventStreamError(self._damage)
        return frames

    def _read(self, data: bytes, frames: list[Frame]) -> int:
        """Read the frames that are whole, and note what is wanted for the next; give where it begins."""
        view = memoryview(data)
        size = len(data)
        offset = 0
        while size - offset >= 12:
            total, headers_length, prelude_crc = _PRELUDE.unpack_from(data, offset)
            if crc32(view[offset : offset + 8]) != prelude_crc:
                self._damage = "a prelude's checksum is wrong"
                return offset
            if not _OVERHEAD + headers_length <= total <= MAX_FRAME:
                self._damage = "a frame's length is wrong"
                return offset
            end = offset + total
            if size < end:
                self._wanted = total
                return offset
            if crc32(view[offset : end - 4]) != _U32.unpack_from(data, end - 4)[0]:
                self._damage = "a frame's checksum is wrong"
                return offset
            split = offset + 12 + headers_length
            try:
                block = data[offset + 12 : split]
                headers = _known_headers(block) if headers_length <= _SMALL else _headers(block)
            except EventStreamError as error:
                self._damage = str(error)
                return offset
            frames.append(Frame(headers, data[split : end - 4]))
            offset = end
        self._wanted = 12
        return offset


def _headers(block: bytes) -> dict[str, str]:
    headers = {}
    at = 0
    try:
        while at < len(block):
            name_end = at + 1 + block[at]
            name = block[at + 1 : name_end].decode()
            kind = block[name_end]
            at = name_end + 1
            if kind in (6, 7):
                start = at + 2
                at = start + _U16.unpack_from(block, at)[0]
                if at > len(block):
                    raise EventStreamError("a header is longer than its block")
                if kind == 7:
                    headers[name] = block[start:at].decode()
            else:
                at += _FIXED_SIZES[kind]
    except (IndexError, KeyError, ValueError, ArithmeticError) as error:
        raise EventStreamError("a header is malformed") from error
    return headers


_known_headers = lru_cache(maxsize=32)(_headers)
