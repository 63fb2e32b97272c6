"""WebSocket frames (RFC 6455) with API Gateway's limits. Pure.

Source: "Amazon API Gateway quotas for configuring and running a WebSocket API": a frame over 32 kB
or a message over 128 kB closes the connection with the code 1009. "Working with binary media types
for WebSocket APIs": a binary frame closes it with 1003.
"""

import base64
import codecs
import hashlib
from dataclasses import dataclass

from local.limits import value

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_CODES = {1000, 1001, 1002, 1003, *range(1007, 1015)}
"""The codes below 3000 that a close frame may have."""
_NO_CODE = 1005
"""The code that stands for a close frame without one. It is never sent."""


@dataclass(frozen=True)
class Text:
    """A whole text message."""

    text: str


@dataclass(frozen=True)
class Ping:
    """A ping, which the same bytes answer."""

    data: bytes


@dataclass(frozen=True)
class Pong:
    """A pong."""


@dataclass(frozen=True)
class Close:
    """A close frame; 1005 stands for one without a code."""

    code: int
    reason: str


Received = Text | Ping | Pong | Close


class Broken(Exception):
    """The peer broke the protocol or a limit. `code` is that of the close frame to send."""

    def __init__(self, code: int, reason: str) -> None:
        """Set `reason`, the text of the close frame."""
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


def accept_key(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` of a handshake's key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - the RFC's


def message(data: bytes) -> bytes:
    """Return a server's text message, in frames that are no longer than the limit."""
    size = value("apigateway_frame")
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        _frame(_CONTINUATION if number else _TEXT, piece, final=number == last)
        for number, piece in enumerate(pieces)
    )


def close(code: int, reason: str = "") -> bytes:
    """Return a server's close frame. Without a code (1005) it is empty."""
    if code == _NO_CODE:
        return _frame(_CLOSE, b"")
    return _frame(_CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])


def pong(data: bytes) -> bytes:
    """Return the answer to a ping."""
    return _frame(_PONG, data)


def _frame(kind: int, data: bytes, *, final: bool = True) -> bytes:
    head = bytes([kind | (0x80 if final else 0)])
    if len(data) < 126:
        return head + bytes([len(data)]) + data
    if len(data) < 65_536:
        return head + b"\x7e" + len(data).to_bytes(2, "big") + data
    return head + b"\x7f" + len(data).to_bytes(8, "big") + data


class Decoder:
    """Reads what a client sends. A frame's length is checked before its bytes are kept."""

    def __init__(self) -> None:
        """Begin with no bytes."""
        self._data = bytearray()
        self._parts: bytearray | None = None

    def feed(self, data: bytes) -> list[Received | Broken]:
        """Return what is whole now. A Broken is the last one; nothing may be fed after it."""
        self._data += data
        received: list[Received | Broken] = []
        try:
            while (one := self._next()) is not None:
                received += one
        except Broken as broken:
            self._data.clear()
            received.append(broken)
        return received

    def _next(self) -> list[Received] | None:
        """Return what the next frame completes, or None without a whole frame."""
        if len(self._data) < 2:
            return None
        kind, size = self._data[0] & 0x0F, self._data[1] & 0x7F
        final = bool(self._data[0] & 0x80)
        self._check(kind, size, final=final)
        begins = 2
        if size > 125:
            begins += 2 if size == 126 else 8
            if len(self._data) < begins:
                return None
            size = int.from_bytes(self._data[2:begins], "big")
        if size > value("apigateway_frame"):
            raise Broken(1009, "Frame is too large")
        if kind < _CLOSE and len(self._parts or b"") + size > value("apigateway_message"):
            raise Broken(1009, "Message is too large")
        end = begins + 4 + size
        if len(self._data) < end:
            return None
        mask = bytes(self._data[begins : begins + 4])
        payload = _unmasked(bytes(self._data[begins + 4 : end]), mask)
        del self._data[:end]
        return self._received(kind, payload, final=final)

    def _check(self, kind: int, size: int, *, final: bool) -> None:
        if self._data[0] & 0x70:
            raise Broken(1002, "Reserved bits are set")
        if not self._data[1] & 0x80:
            raise Broken(1002, "Frame is not masked")
        if kind == _BINARY:
            raise Broken(1003, "Binary frames are not supported")
        if kind not in {_CONTINUATION, _TEXT, _CLOSE, _PING, _PONG}:
            raise Broken(1002, "Unknown opcode")
        if kind >= _CLOSE and (size > 125 or not final):
            raise Broken(1002, "Control frame is too long or in parts")
        if kind < _CLOSE and (kind == _CONTINUATION) != (self._parts is not None):
            raise Broken(1002, "Message begins or goes on at the wrong time")

    def _received(self, kind: int, payload: bytes, *, final: bool) -> list[Received]:
        if kind == _PING:
            return [Ping(payload)]
        if kind == _PONG:
            return [Pong()]
        if kind == _CLOSE:
            return [_closed(payload)]
        parts = bytearray() if self._parts is None else self._parts
        parts += payload
        self._parts = None if final else parts
        return [Text(_decoded(bytes(parts)))] if final else []


def _closed(payload: bytes) -> Close:
    if not payload:
        return Close(_NO_CODE, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _CODES or 3000 <= code <= 4999):
        raise Broken(1002, "Invalid close code")
    return Close(code, _decoded(payload[2:]))


def _decoded(data: bytes) -> str:
    try:
        return codecs.decode(data, "utf-8")
    except UnicodeDecodeError:
        raise Broken(1007, "Text is not UTF-8") from None


def _unmasked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = int.from_bytes(mask * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    return (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")
