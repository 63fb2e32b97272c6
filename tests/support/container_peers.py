"""Connections to the container whose bytes the test sends itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.model import Container


class Peer:
    """One connection to a container."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        """Send the parts, each once those before it are sent."""
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()

    async def answer(self) -> tuple[int, Any]:
        """Return the status of the next response, and its JSON."""
        async with asyncio.timeout(60):
            head = await self._reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            body = await self._reader.readexactly(int(fields[b"content-length"]))
        return int(head.split()[1]), json.loads(body or "null")

    async def refusal(self) -> tuple[int, str]:
        """Return the status of the next response, which is the last, and its error's code."""
        status, body = await self.answer()
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["type"] == "invalid_request_error"
        await self.closed()
        return status, body["error"]["code"]

    async def until(self, text: bytes) -> None:
        """Read until a text has come."""
        async with asyncio.timeout(60):
            await self._reader.readuntil(text)

    async def closed(self) -> None:
        """Wait for the end of the connection, before which nothing more comes."""
        async with asyncio.timeout(60):
            assert await self._reader.read() == b""


@contextlib.asynccontextmanager
async def connected(container: Container) -> AsyncIterator[Peer]:
    """Open a connection."""
    url = container.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    yield Peer(reader, writer)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
