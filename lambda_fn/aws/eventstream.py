"""The AWS event stream, as bytes in and frames out.

A frame is: u32 length of all, u32 length of the headers, u32 CRC of those eight bytes, the headers, the payload, u32
CRC of all before; big-endian. A header is: u8 length of the name, the name, u8 type, the value; strings (type 7) have
a u16 length.
Source: "Event stream encoding", Amazon Transcribe Developer Guide; botocore's parser, against which the tests hold
this one.
"""

from struct import Struct
from typing import NamedTuple
from zlib import crc32

_PRELUDE = Struct(">III")
_U16 = Struct(">H")
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # bytes of a value, by type; 6 and 7 say it themselves
_OVERHEAD = 16
MAX_FRAME = 24 * 1024 * 1024
"""Bytes of one frame; botocore's limit too."""


class EventStreamError(Exception):
    """The bytes are no event stream, or were damaged."""


class Frame(NamedTuple):
    """One message. `headers` holds those of type string; others are of no use here."""

    headers: dict[str, str]
    payload: bytes


class Decoder:
    """Collects bytes, cut anywhere, and gives the frames that are whole."""

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self._buffer = bytearray()
        self._damage = ""

    @property
    def damaged(self) -> bool:
        """Whether what follows the frames given so far is no event stream; feeding more raises."""
        return bool(self._damage)

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet; at the end of a stream anything but 0 means that it was cut."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes, give what they complete.

        Raises:
            EventStreamError: a checksum or a length is wrong, and no whole frame is left to give before it. The decoder
                is of no further use.

        """
        frames = self._frames(data)
        if self._damage and not frames:
            raise EventStreamError(self._damage)
        return frames

    def _frames(self, data: bytes) -> list[Frame]:
        buffer = self._buffer
        buffer += data
        frames = []
        offset = 0
        while len(buffer) - offset >= _PRELUDE.size:
            total, headers_length, prelude_crc = _PRELUDE.unpack_from(buffer, offset)
            if crc32(buffer[offset : offset + 8]) != prelude_crc:
                self._damage = "a prelude's checksum is wrong"
                break
            if not _OVERHEAD + headers_length <= total <= MAX_FRAME:
                self._damage = "a frame's length is wrong"
                break
            end = offset + total
            if len(buffer) < end:
                break
            frame = bytes(buffer[offset:end])
            if crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big"):
                self._damage = "a frame's checksum is wrong"
                break
            split = _PRELUDE.size + headers_length
            try:
                headers = _headers(frame[_PRELUDE.size : split])
            except EventStreamError as error:
                self._damage = str(error)
                break
            frames.append(Frame(headers, frame[split:-4]))
            offset = end
        del buffer[:offset]
        return frames


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
