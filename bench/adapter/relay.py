"""The lower bound of the cost: an asyncio program that only passes bytes on, both ways.

python -m bench.adapter.relay HOST:PORT        prints its port
"""

import asyncio
import sys


class Side(asyncio.Protocol):
    """One side of a connection. The other side writes what it receives."""

    def __init__(self, target: tuple[str, int] | None) -> None:
        """Begin a side. With a `target` it is the client's side, which opens the other one."""
        self._target = target
        self._opening: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the other side."""
        self.transport = transport  # type: ignore[assignment]
        if self._target is not None:
            self._opening = asyncio.create_task(self._open(self._target))

    async def _open(self, target: tuple[str, int]) -> None:
        _, other = await asyncio.get_running_loop().create_connection(lambda: Side(None), *target)
        self.other, other.other = other, self
        for data in self._early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on."""
        if self.other is None:
            self._early.append(data)
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Pause reading on the other side."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume reading on the other side."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side too."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def serve(target: tuple[str, int]) -> None:
    """Listen on loopback, print the port, and serve until killed."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Side(target), "127.0.0.1", 0, backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    host, _, port = sys.argv[1].partition(":")
    sys.exit(asyncio.run(serve((host, int(port)))))
