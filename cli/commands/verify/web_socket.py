"""A client of one WebSocket, for checks: it sends texts and reads messages until the close.

It reads no fragments and no messages over 64 kB: what it checks sends none.
"""

import base64
import http.client
import os
import socket
import ssl
import struct
from typing import Self
from urllib.parse import urlsplit

from cli.commands.verify.target import NoResponse

_TEXT, _CLOSE, _PING = 1, 8, 9
_LONGEST = 65_535


class WebSocket:
    """An open socket. It is a context manager.

    Methods raise NoResponse if nothing, or nothing that is a WebSocket frame, comes.
    """

    def __init__(self, url: str, key: str, *, authority: str | None, timeout: float = 60) -> None:
        """Open it with a bearer key. `authority` is a file with certificates to trust."""
        parts = urlsplit(url)
        where = (parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80))
        try:
            self._socket = socket.create_connection(where, timeout=timeout)
            if parts.scheme == "wss":
                trust = ssl.create_default_context(cafile=authority)
                self._socket = trust.wrap_socket(self._socket, server_hostname=where[0])
            nonce = base64.b64encode(os.urandom(16)).decode()
            self._socket.sendall(
                (
                    f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                    f"Authorization: Bearer {key}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n"
                ).encode()
            )
            self._file = self._socket.makefile("rb")
            status = self._file.readline(1000).split()
            http.client.parse_headers(self._file)
        except (OSError, http.client.HTTPException) as error:
            raise NoResponse(f"the handshake failed: {error or type(error).__name__}") from None
        if len(status) < 2 or status[1] != b"101":
            raise NoResponse(f"the handshake was answered with {b' '.join(status[:2]).decode()!r}")

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, text: str) -> None:
        """Send a text of at most 64 kB as one frame."""
        self._send(_TEXT, text.encode())

    def _send(self, opcode: int, data: bytes) -> None:
        mask = os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack("!BH", 254, len(data))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
        try:
            self._socket.sendall(bytes([0x80 | opcode]) + size + mask + masked)
        except OSError as error:
            raise NoResponse(f"sending failed: {error}") from None

    def receive(self) -> str | int:
        """Return the next text, or the code with which the socket is closed."""
        while True:
            opcode, data = self._frame()
            if opcode == _TEXT:
                return data.decode(errors="replace")
            if opcode == _CLOSE:
                return int.from_bytes(data[:2]) if len(data) >= 2 else 1005
            if opcode == _PING:
                self._send(10, data)

    def _frame(self) -> tuple[int, bytes]:
        first, size = self._read(2)
        if size == 126:
            size = int.from_bytes(self._read(2))
        if size > _LONGEST:
            raise NoResponse(f"a frame of {size} bytes came")
        return first & 0x0F, self._read(size)

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            raise NoResponse(f"nothing came: {error}") from None
        if data is None or len(data) < size:
            raise NoResponse("the connection was closed without a close frame")
        return data
