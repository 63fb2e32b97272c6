"""A decoder of the AWS event stream: bytes in, frames out.

    frame   u32 total length, u32 length of the headers, u32 CRC of these eight bytes,
            the headers, the payload, u32 CRC of everything before
    header  u8 length of the name, the name, u8 type, the value; a string (type 7) has a u16 length

Numbers are big-endian. Source: "Event stream encoding", Amazon Transcribe Developer Guide. The
tests compare this decoder with botocore's.
"""

import struct
from functools import lru_cache
from struct import Struct
from zlib import crc32

import msgspec

_PRELUDE = Struct(">III")
_U16 = Struct(">H")
_U32 = Struct(">I")
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a value, by type; values of types 6 and 7 carry their length."""
_OVERHEAD = 16
PART = "PayloadPart"
"""The type of the events that carry what the model's container sends."""
MAX_FRAME = 24 * 1024 * 1024
"""The maximum number of bytes of a frame; botocore has the same limit."""
_SMALL = 512
"""The maximum number of bytes of a header block that is cached.

A cache helps because all parts of a response have the same headers, and many the same length.
"""


class EventStreamError(Exception):
    """The bytes are not an event stream, or were damaged."""


class Frame(msgspec.Struct, frozen=True):
    """A message. `headers` has the headers of type string. Frames share it: do not change it."""

    headers: dict[str, str]
    payload: bytes


class Decoder:
    """Collects bytes, cut anywhere, and returns the complete frames."""

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = 0
        self._lead = 0
        """Bytes before the payload of the last frame; 0 if bytes wait, or are malformed."""
        self.damage = ""
        """Why the bytes after the returned frames are malformed, so that feeding more raises."""

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame. If there are any at the end, the stream was truncated."""
        return self._size

    def only_part(self, data: bytes) -> bytes | None:
        """Return the payload of bytes that are exactly one frame, as nearly each token is.

        Return None, and take nothing, if they are anything else, if the frame is no part, or if it
        is like none before. Then `feed` has to read them.
        """
        lead = self._lead
        if len(data) < lead + 4:
            return None
        known = _part(data[:lead])
        if known is None or known[0] != len(data):
            return None
        payload = data[lead:-4]
        return payload if crc32(payload, known[1]) == int.from_bytes(data[-4:], "big") else None

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that they complete.

        Raises:
            EventStreamError: a checksum or a length is wrong, and no complete frame precedes it.
                The decoder cannot be used any more.

        """
        frames: list[Frame] = []
        if not self.damage:
            if self._size:
                self._parts.append(data)
                self._size += len(data)
                if self._size < self._needed:
                    return frames
                data = b"".join(self._parts)
            read = self._read(data, frames)
            if read < len(data):
                self._parts = [data[read:]]
                self._size = len(data) - read
                self._lead = 0
            elif self._size:
                self._parts, self._size = [], 0
        if self.damage and not frames:
            raise EventStreamError(self.damage)
        return frames

    def _read(self, data: bytes, frames: list[Frame]) -> int:
        """Read the complete frames, note the size of the next one, and return its offset."""
        view = memoryview(data)
        size = len(data)
        offset = 0
        try:
            while size - offset >= 12:
                total, headers_length = _lengths(data[offset : offset + 12])
                end = offset + total
                if size < end:
                    self._needed = total
                    return offset
                if crc32(view[offset : end - 4]) != _U32.unpack_from(data, end - 4)[0]:
                    raise EventStreamError("a frame's checksum is wrong")
                split = offset + 12 + headers_length
                block = data[offset + 12 : split]
                headers = _known_headers(block) if headers_length <= _SMALL else _headers(block)
                frames.append(Frame(headers, data[split : end - 4]))
                offset = end
        except EventStreamError as error:
            self.damage = str(error)
            return offset
        if frames:
            self._lead = 12 + headers_length if headers_length <= _SMALL else 0
        self._needed = 12
        return offset


@lru_cache(maxsize=256)
def _lengths(prelude: bytes) -> tuple[int, int]:
    """Return the lengths of a frame and of its headers. Frames of one length have one prelude."""
    total, headers_length, checksum = _PRELUDE.unpack(prelude)
    if crc32(prelude[:8]) != checksum:
        raise EventStreamError("a prelude's checksum is wrong")
    if not _OVERHEAD + headers_length <= total <= MAX_FRAME:
        raise EventStreamError("a frame's length is wrong")
    return total, headers_length


@lru_cache(maxsize=256)
def _part(lead: bytes) -> tuple[int, int] | None:
    """Return the length of a part that begins with these bytes, and their checksum.

    Return None if no part does, or if its payload does not begin after them.
    """
    if not lead:
        return None
    try:
        total, headers_length = _lengths(lead[:12])
        is_part = _headers(lead[12:]).get(":event-type") == PART
    except EventStreamError:
        return None
    whole = 12 + headers_length == len(lead)
    return (total, crc32(lead)) if whole and is_part else None


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
    except (IndexError, KeyError, ValueError, ArithmeticError, struct.error) as error:
        raise EventStreamError("a header is malformed") from error
    return headers


_known_headers = lru_cache(maxsize=32)(_headers)
