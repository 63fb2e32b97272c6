"""A small HTTP client: a pool over `Connection`.

A connection that was idle over `IDLE_CONNECTION` is closed instead of used: Lambda freezes environments, and a socket
may have died meanwhile unseen. Two clocks are asked, because the monotonic one may stand still in a frozen environment.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from lambda_fn import limits
from lambda_fn.connection import Connection, TransportError


@cache
def tls_context() -> ssl.SSLContext:
    """Give the one TLS context; loading the authorities takes some 20 ms, so it is done at start."""
    return ssl.create_default_context()


async def connect(origin: str) -> Connection:
    """Open a connection.

    Args:
        origin: Scheme, host and port, as in `https://host` or `http://localhost:4566`.

    Raises:
        OSError: it cannot be opened; TimeoutError is one.

    """
    parts = urlsplit(origin)
    secure = parts.scheme == "https"
    async with asyncio.timeout(limits.CONNECT_TIMEOUT):
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection,
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            ssl=tls_context() if secure else None,
        )
    return connection


class _Idle(NamedTuple):
    """A connection in the pool, and since when by both clocks."""

    wall: float
    monotonic: float
    connection: Connection


class Client:
    """Sends requests to any number of origins, over pooled connections."""

    def __init__(self) -> None:
        """Begin with no connection."""
        self._idle: dict[str, list[_Idle]] = {}

    async def request(
        self,
        method: str,
        origin: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float | None,  # noqa: ASYNC109 (the pool's work is bounded by it too)
    ) -> "Response":
        """Send a request and wait for the head of the answer.

        Args:
            method: As in `POST`.
            origin: As `connect` takes it.
            path: What follows it.
            headers: With `host`; the length is added.
            body: The whole body.
            timeout: Seconds for the connection and the answer's head together; None for no limit.

        Raises:
            TransportError: nothing, or nothing sensible, came back; also when the time is over.

        """
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "", ""]
        data = "\r\n".join(lines).encode("latin-1") + body
        try:
            if timeout is None:
                connection = await self._exchange(origin, data)
            else:
                async with asyncio.timeout(timeout):
                    connection = await self._exchange(origin, data)
        except TimeoutError:
            raise TransportError("no answer in time") from None
        except OSError as error:
            raise TransportError(f"no connection: {type(error).__name__}") from error
        return Response(connection, self._idle.setdefault(origin, []))

    async def _exchange(self, origin: str, data: bytes) -> Connection:
        connection = self._take(origin) or await connect(origin)
        try:
            connection.begin()
            await connection.write(data)
            await connection.head()
        except BaseException:
            connection.abort()
            raise
        return connection

    def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for idle in connections:
                idle.connection.abort()
        self._idle.clear()

    def _take(self, origin: str) -> Connection | None:
        idle = self._idle.get(origin, [])
        while idle:
            wall, monotonic, connection = idle.pop()
            seconds = max(time.time() - wall, time.monotonic() - monotonic)
            if connection.reusable and seconds <= limits.IDLE_CONNECTION:
                return connection
            connection.abort()
        return None


class Response:
    """An answer whose head has come. Whoever has it closes it."""

    def __init__(self, connection: Connection, pool: list[_Idle]) -> None:
        """Wrap a connection, to go into `pool` if it can."""
        self._connection = connection
        self._pool = pool
        self.status = connection.status
        self.headers = connection.headers
        self.read = connection.read
        self.nudge = connection.nudge

    async def read_all(self, limit: int) -> bytes:
        """Give the whole body.

        Raises:
            TransportError: it was cut off, or is longer than `limit` bytes.

        """
        parts = []
        size = 0
        while part := await self.read():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TransportError(f"an answer of more than {limit} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close it."""
        if self._connection.reusable:
            self._pool.append(_Idle(time.time(), time.monotonic(), self._connection))
        else:
            self._connection.abort()
