"""The stand-in DynamoDB: takes every write, at once. `python -m bench.adapter.table` prints its port.

What it answers is what the meter looks at: an account without limits. It keeps nothing; the tests hold the meter
against a table that does.
"""

import asyncio
import json
import sys

_ANSWER = json.dumps({"Attributes": {}}).encode()
_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_ANSWER),
    _ANSWER,
)


class Connection(asyncio.Protocol):
    """One connection; requests come one after another."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._transport: asyncio.Transport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer a request that is whole."""
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found or self._transport is None:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(body) >= length:
            self._read = body[length:]
            self._transport.write(_REPLY)


async def serve() -> None:
    """Listen on loopback, say where, serve until killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(serve()))
