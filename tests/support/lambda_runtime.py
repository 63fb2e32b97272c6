"""A runtime's side of the local cloud's Runtime API."""

import asyncio

from local.lambda_.response import Invocation
from local.lambda_.runtime_api import RuntimeApi

BASE = "/2018-06-01/runtime/"
# The placeholder of the port in the Host header. Requests are written before there is a port.
NAMED = 9001


class Runtime:
    """A runtime's side: raw bytes on its own connections."""

    def __init__(self) -> None:
        """Begin without a server."""
        self.asked = asyncio.Event()
        self.init_errors: list[str] = []
        self.api = RuntimeApi(self.asked.set, self.init_errors.append)
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a new connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def next(self) -> tuple[Invocation, bytes]:
        """Fetch an invocation. Return it and the bytes of the response."""
        self.asked.clear()
        reader, writer = await self.open()
        writer.write(
            f"GET {BASE}invocation/next HTTP/1.1\r\nHost: 127.0.0.1:{NAMED}\r\n\r\n".encode()
        )
        await self.asked.wait()
        invocation = Invocation("id-1", b'{"event":1}', 123, "arn", "trace")
        self.api.offer(invocation)
        return invocation, await reader.read(65536)

    async def close(self) -> None:
        """Close everything."""
        for writer in self._writers:
            writer.close()
        self.api.stop()
        await asyncio.sleep(0)
