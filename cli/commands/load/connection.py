"""One request over a connection of its own, on asyncio and httptools.

A load test has to cost less than what it measures. This client takes half the CPU of aiohttp for
each chunk. It takes the time in the callback that gets the bytes. docs/explanation/load-test.md has
the figures.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

import httptools

from cli.commands.load.event_stream import Malformed
from cli.lib.project import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_S = 10.0
_BUFFER = 64 * 1024
_MAX_HEAD = 64 * 1024
"""Bytes before the body of a response."""
_shared = memoryview(bytearray(_BUFFER))
"""All connections share one buffer, because bytes are handled in the callback that gets them."""


@dataclass(frozen=True)
class Address:
    """Where an API is. `path` is what stands before the paths of the forms."""

    host: str
    port: int
    path: str
    tls: bool
    authority: str | None = None
    """The file of the only certificate authority to trust."""

    @classmethod
    def of(cls, url: str, authority: str | None = None) -> Address:
        """Return the address of a base URL.

        Raises:
            UsageError: this is no http or https URL.

        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"{url}: {error}") from None
        if parts.scheme not in {"http", "https"} or not host:
            raise UsageError(f"{url}: must be a URL such as https://example.com/v1")
        if parts.username or parts.query or parts.fragment:
            raise UsageError(f"{url}: must be a base URL alone, without user, query or fragment")
        tls = parts.scheme == "https"
        return cls(host, port or (443 if tls else 80), parts.path.rstrip("/"), tls, authority)

    @property
    def authority_part(self) -> str:
        """The value of the header `host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """Return what TLS needs; None without TLS."""
        return ssl.create_default_context(cafile=self.authority) if self.tls else None


class Receiver(Protocol):
    """Gets the events of an exchange, in this order; `ended` comes once, last."""

    def status(self, status: int, headers: dict[str, str]) -> None:
        """The head of the response came. Names are in lower case."""

    def data(self, data: bytes) -> None:
        """Bytes of the body came. Raises Malformed to end the exchange."""

    def ended(self, *, whole: bool, malformed: str = "") -> None:
        """The response is over. `whole`: its body had its proper end."""


class Exchange(asyncio.BufferedProtocol):
    """One request and its response. It closes its connection when the response ends."""

    def __init__(self, request: bytes, receiver: Receiver, *, pace: int | None = None) -> None:
        """Take the request's bytes. With a `pace`, read so many bytes a second, as slow clients do.

        Reading slowly fills the buffers on the way, until the server feels it.
        """
        self._request = request
        self._receiver = receiver
        self._pace = pace
        # a tenth of a second at once
        self._buffer = _shared if pace is None else memoryview(bytearray(max(1, pace // 10)))
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._head = 0
        self._informational = False
        self._begun = False
        self._over = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)
        if self._over:
            self._transport.abort()
        else:
            self._transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what came."""
        if self._over:
            return
        if not self._begun:
            self._head += nbytes
            if self._head > _MAX_HEAD + _BUFFER:
                self._finish(whole=False, malformed="head_too_large")
                return
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, Malformed):
                raise
            self._finish(whole=False, malformed=str(cause))
        except httptools.HttpParserError:
            self._finish(whole=False, malformed="not_http")
        if self._pace is not None and not self._over and self._transport is not None:
            self._transport.pause_reading()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(nbytes / self._pace, self._transport.resume_reading)

    def eof_received(self) -> None:
        """Take the end of the connection. It also ends a body without a length."""
        unbounded = not ({"content-length", "transfer-encoding"} & self._headers.keys())
        self._finish(whole=self._begun and unbounded)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the loss of the connection."""
        self._finish(whole=False)

    def leave(self) -> None:
        """Break the connection off, as a client that leaves. The receiver gets no further call."""
        self._over = True
        self._close(abort=True)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Hand the head on."""
        status = self._parser.get_status_code()
        self._informational = status < 200
        if self._informational:
            self._headers.clear()
            return
        self._begun = True
        self._receiver.status(status, self._headers)

    def on_body(self, body: bytes) -> None:
        """Hand bytes of the body on."""
        if not self._over:
            self._receiver.data(body)

    def on_message_complete(self) -> None:
        """Take the body's proper end."""
        if not self._informational:
            self._finish(whole=True)

    def _finish(self, *, whole: bool, malformed: str = "") -> None:
        if self._over:
            # asyncio's TLS reads on within `close`, and may find the end of the connection there:
            # an abort at that moment would break the closing off with an error
            return
        self._over = True
        self._receiver.ended(whole=whole, malformed=malformed)
        self._close(abort=not whole)

    def _close(self, *, abort: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            if abort:
                self._transport.abort()
            else:
                self._transport.close()
        if not self.done.done():
            self.done.set_result(None)


def request_bytes(
    address: Address,
    path: str,
    body: bytes | None,
    *,
    key: str,
    accept: str,
    agent: str = "sluice-load",
) -> bytes:
    """Return a POST of a JSON body, or a GET without one. A key with characters that no header may
    have is refused.
    """
    if not key.isascii() or not key.isprintable():
        raise UsageError("The key has characters that no API key has.")
    lines = [
        f"{'GET' if body is None else 'POST'} {address.path}{path} HTTP/1.1",
        f"host: {address.authority_part}",
        f"accept: {accept}",
        f"user-agent: {agent}",
        "connection: close",
    ]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


async def connect(
    address: Address, context: ssl.SSLContext | None, make: Callable[[], Exchange]
) -> Exchange:
    """Connect and send. Raises Unreachable with a code if there is no connection."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            _, exchange = await loop.create_connection(
                make, address.host, address.port, ssl=context
            )
    except TimeoutError:
        raise Unreachable("timeout") from None
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"certificate: {error.verify_message}") from None
    except ssl.SSLError:
        raise Unreachable("tls") from None
    except socket.gaierror:
        raise Unreachable("no such host") from None
    except OSError as error:
        # asyncio's own text has the address in it
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise Unreachable(reason.lower()) from None
    return exchange


class Unreachable(Exception):
    """There was no connection. The text is a code."""
