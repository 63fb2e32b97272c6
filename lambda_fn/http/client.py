"""A small HTTP client: a pool over `Connection`.

Lambda freezes environments, and a connection may be closed unnoticed meanwhile. So a connection
that was idle for longer than `IDLE_CONNECTION` is closed and not used. Two clocks are read, because
the monotonic one may stop in a frozen environment. While the environment is awake, as it always is
on Managed Instances, the client sees the peer close a connection. It keeps connections for
`IDLE_AWAKE` then, so that a burst needs no handshakes.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from lambda_fn import limits
from lambda_fn.http.connection import Connection, TransportError, decoded


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context that all connections share.

    Loading the certificate authorities takes some 20 ms, so `main` calls this at start.
    """
    return ssl.create_default_context()


def connect(origin: str) -> Connection:
    """Start to open a connection, and return it.

    It may be written to at once. Its methods raise if it cannot be opened.

    Args:
        origin: Scheme, host and port, as in `https://host` or `http://localhost:4566`.

    """
    connection = Connection()
    connection.opening = connection.loop.create_task(_open(connection, origin))
    return connection


async def _open(connection: Connection, origin: str) -> None:
    try:
        parts = urlsplit(origin)
        secure = parts.scheme == "https"
        async with asyncio.timeout(limits.CONNECT_TIMEOUT):
            await connection.loop.create_connection(
                lambda: connection,
                parts.hostname or "",
                parts.port or (443 if secure else 80),
                ssl=tls_context() if secure else None,
            )
    except Exception as error:  # noqa: BLE001 (any error must reach the pending calls)
        connection.opening = None
        connection.fail(f"no connection: {type(error).__name__}")


_MAX_BATCH = 8
"""Maximum number of requests of one turn of the event loop that are sent together."""


class _Idle(NamedTuple):
    """A connection in the pool, and the time on both clocks at which it became idle."""

    wall: float
    monotonic: float
    connection: Connection


class Client:
    """Sends requests to any number of origins, over pooled connections."""

    def __init__(self) -> None:
        """Begin without connections."""
        self._outbox: list[tuple[Connection, bytes]] = []
        self._idle: dict[str, list[_Idle]] = {}
        self._awake_since = self._awake_at = 0.0
        self._tick: asyncio.TimerHandle | None = None
        self._closed = False

    def send(
        self,
        method: str,
        origin: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        seconds: float | None = None,
    ) -> "Exchange":
        """Send a request without waiting.

        Requests are sent in batches: in the next turn of the event loop, or when a batch is full. A
        batch wakes its peer once. In a burst this saves a fifth of the time to the first token
        (docs/explanation/performance.md).

        Args:
            method: Such as `POST`.
            origin: As for `connect`.
            path: The path and query.
            headers: The headers with `host`; `content-length` is added.
            body: The body.
            seconds: The time limit of the exchange, or None.

        """
        lines = [f"{method} {path} HTTP/1.1"]
        lines += map(": ".join, headers.items())
        lines += [f"content-length: {len(body)}", "", ""]
        connection = self.acquire(origin)
        connection.begin()
        if not self._outbox:
            connection.loop.call_soon(self._flush)
        self._outbox.append((connection, "\r\n".join(lines).encode("latin-1") + body))
        if len(self._outbox) == _MAX_BATCH:
            self._flush()
        return Exchange(self, origin, connection, seconds)

    async def request(
        self,
        method: str,
        origin: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        seconds: float | None = None,
    ) -> "Exchange":
        """Send a request as `send` does, and wait for the head of the response.

        Raises:
            TransportError: no response came in time, or a malformed one.

        """
        exchange = self.send(method, origin, path, headers, body, seconds=seconds)
        try:
            await exchange.head()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def close(self) -> None:
        """Close the idle connections, and from now on each other one when it is released."""
        self._closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close the idle connections."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for connections in self._idle.values():
            for idle in connections:
                idle.connection.abort()
        self._idle.clear()

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        for connection, data in outbox:
            with contextlib.suppress(TransportError):  # the exchange raises it
                connection.put(data)

    def acquire(self, origin: str) -> Connection:
        """Return an idle connection, or one that is being opened.

        The caller must release or abort it.
        """
        idle = self._idle.get(origin, [])
        while idle:
            wall, monotonic, connection = idle.pop()
            seconds = max(time.time() - wall, time.monotonic() - monotonic)
            max_idle = limits.IDLE_AWAKE if self._awake(since=wall) else limits.IDLE_CONNECTION
            if connection.reusable and seconds <= max_idle:
                return connection
            connection.abort()
        return connect(origin)

    def release(self, origin: str, connection: Connection) -> None:
        """Keep a connection for the next exchange if it is reusable, else close it."""
        if connection.reusable and not self._closed:
            if self._tick is None:
                self._note_awake(connection.loop)
            self._idle.setdefault(origin, []).append(
                _Idle(time.time(), time.monotonic(), connection)
            )
        else:
            connection.abort()

    def _note_awake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that the environment is awake. Close idle connections that are too old or closed."""
        now = time.time()
        if now - self._awake_at > 3 * limits.AWAKE_TICK:
            self._awake_since = now
        self._awake_at = now
        for idle in self._idle.values():
            while idle and (
                now - idle[0].wall > limits.IDLE_AWAKE or not idle[0].connection.reusable
            ):
                idle.pop(0).connection.abort()
        self._tick = loop.call_later(limits.AWAKE_TICK, self._note_awake, loop)

    def _awake(self, *, since: float) -> bool:
        return since >= self._awake_since and time.time() - self._awake_at <= 3 * limits.AWAKE_TICK


class Exchange:
    """A request that was sent, and its response.

    `head` waits for `status` and `headers` of the response. Then `read` returns its body. The
    caller must close the exchange.
    """

    def __init__(
        self, client: Client, origin: str, connection: Connection, seconds: float | None
    ) -> None:
        """Wrap a connection of a client. The exchange fails after `seconds`, if they are given."""
        self._client = client
        self._origin = origin
        self._connection = connection
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        if seconds is not None:
            self._timer = connection.loop.call_later(
                seconds, connection.fail, "no response in time"
            )
        self.status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self.loop = connection.loop
        self.read = connection.read
        self.wake = connection.wake

    @property
    def connected(self) -> bool:
        """Whether the connection was open, so that the request may have arrived."""
        return self._connection.connected

    async def head(self) -> bool:
        """Wait for the head.

        Return False if `wake` was called before it came. Raises TransportError.
        """
        if not await self._connection.head():
            return False
        self.status, self._fields = self._connection.status, self._connection.fields
        return True

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        return decoded(self._fields)

    async def read_all(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            TransportError: the body was truncated, or is longer than `limit` bytes.

        """
        parts = []
        size = 0
        while (part := await self.read()) != b"":
            if part is None:  # `wake` was called for another reason
                continue
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TransportError(f"a response of more than {limit} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """Release the connection if the response was read to its end, else close it."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._client.release(self._origin, self._connection)
