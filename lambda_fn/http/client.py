"""A small HTTP client: a pool over `Connection`.

A connection that was idle over `IDLE_CONNECTION` is closed instead of used: Lambda freezes environments, and a socket
may have died meanwhile unseen. Two clocks are asked, because the monotonic one may stand still in a frozen environment.
While the environment is awake, as it always is on Managed Instances, a closing is seen, and connections are kept for
`IDLE_AWAKE`: a burst then pays for no handshakes.
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
from lambda_fn.http.connection import Connection, TransportError


@cache
def tls_context() -> ssl.SSLContext:
    """Give the one TLS context; loading the authorities takes some 20 ms, so it is done at start."""
    return ssl.create_default_context()


def connect(origin: str) -> Connection:
    """Begin to open a connection, which may be written to at once. Whoever waits is told if it cannot be opened.

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
    except Exception as error:  # noqa: BLE001 (whatever it is, somebody waits)
        connection.opening = None
        connection.fail(f"no connection: {type(error).__name__}")


_TOGETHER = 8
"""Requests of one turn of the event loop that leave together at most."""


class _Idle(NamedTuple):
    """A connection in the pool, and since when by both clocks."""

    wall: float
    monotonic: float
    connection: Connection


class Client:
    """Sends requests to any number of origins, over pooled connections."""

    def __init__(self) -> None:
        """Begin with no connection."""
        self._outbox: list[tuple[Connection, bytes]] = []
        self._idle: dict[str, list[_Idle]] = {}
        self._awake_since = self._awake_at = 0.0
        self._tick: asyncio.TimerHandle | None = None

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
        """Send a request, without waiting for anything: it leaves when the event loop goes round, or with some others.

        A peer that is asked many things at once is woken once then. In a burst that is a fifth of the time to the first
        token (docs/explanation/performance.md).

        Args:
            method: As in `POST`.
            origin: As `connect` takes it.
            path: What follows it.
            headers: With `host`; the length is added.
            body: The whole body.
            seconds: For all of the exchange; None for no limit.

        """
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "", ""]
        connection = self.take(origin)
        connection.begin()
        if not self._outbox:
            connection.loop.call_soon(self._flush)
        self._outbox.append((connection, "\r\n".join(lines).encode("latin-1") + body))
        if len(self._outbox) == _TOGETHER:
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
        """Send a request as `send` does, and wait for the head of the answer.

        Raises:
            TransportError: nothing, or nothing sensible, came back; also when the time is over.

        """
        exchange = self.send(method, origin, path, headers, body, seconds=seconds)
        try:
            await exchange.head()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def close(self) -> None:
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
            with contextlib.suppress(TransportError):  # whoever waits for the answer is told
                connection.put(data)

    def take(self, origin: str) -> Connection:
        """Give an idle connection, or one that is being made. Whoever takes it gives it back, or aborts it."""
        idle = self._idle.get(origin, [])
        while idle:
            wall, monotonic, connection = idle.pop()
            seconds = max(time.time() - wall, time.monotonic() - monotonic)
            most = limits.IDLE_AWAKE if self._awake(since=wall) else limits.IDLE_CONNECTION
            if connection.reusable and seconds <= most:
                return connection
            connection.abort()
        return connect(origin)

    def give_back(self, origin: str, connection: Connection) -> None:
        """Keep a connection for the next exchange, if this one was read to its end, else close it."""
        if connection.reusable:
            if self._tick is None:
                self._wake(connection.loop)
            self._idle.setdefault(origin, []).append(_Idle(time.time(), time.monotonic(), connection))
        else:
            connection.abort()

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that the environment is awake now, and since when it is; let go of connections that are of no use."""
        now = time.time()
        if now - self._awake_at > 3 * limits.AWAKE_TICK:
            self._awake_since = now
        self._awake_at = now
        for idle in self._idle.values():
            while idle and (now - idle[0].wall > limits.IDLE_AWAKE or not idle[0].connection.reusable):
                idle.pop(0).connection.abort()
        self._tick = loop.call_later(limits.AWAKE_TICK, self._wake, loop)

    def _awake(self, *, since: float) -> bool:
        return since >= self._awake_since and time.time() - self._awake_at <= 3 * limits.AWAKE_TICK


class Exchange:
    """A request that was sent. `head` waits for the answer's: `status` and `headers`; then it may be read.

    Whoever has it closes it.
    """

    def __init__(self, client: Client, origin: str, connection: Connection, seconds: float | None) -> None:
        """Wrap a connection of a client's; the exchange fails when it takes longer than so many seconds."""
        self._client = client
        self._origin = origin
        self._connection = connection
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        if seconds is not None:
            self._timer = connection.loop.call_later(seconds, connection.fail, "no answer in time")
        self.status = 0
        self.headers: dict[str, str] = {}
        self.loop = connection.loop
        self.read = connection.read
        self.nudge = connection.nudge

    @property
    def made(self) -> bool:
        """Whether there was a connection, so that the request may have arrived."""
        return self._connection.made

    async def head(self) -> bool:
        """Wait for the head; False when `nudge` was called before it came. Raises TransportError."""
        if not await self._connection.head():
            return False
        self.status, self.headers = self._connection.status, self._connection.headers
        return True

    async def read_all(self, limit: int) -> bytes:
        """Give the whole body.

        Raises:
            TransportError: it was cut off, or is longer than `limit` bytes.

        """
        parts = []
        size = 0
        while (part := await self.read()) != b"":
            if part is None:  # a nudge, which is about something else
                continue
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TransportError(f"an answer of more than {limit} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close it."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._client.give_back(self._origin, self._connection)
