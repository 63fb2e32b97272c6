"""A Runtime API that serves events to the function and records what it sends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lambda_fn.runtime.api import RuntimeApi
from lambda_fn.runtime.loop import serve

EVENT: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/v1/caf%C3%A9",
    "rawQueryString": "a=1&b=%20",
    "headers": {"Host": "x", "content-type": "application/json", "x-forwarded-proto": "https"},
    "cookies": ["a=1", "b=2"],
    "requestContext": {
        "http": {
            "method": "POST",
            "path": "/v1/café",
            "protocol": "HTTP/1.1",
            "sourceIp": "10.0.0.1",
        }
    },
    "body": "hello",
    "isBase64Encoded": False,
    "somethingNew": {"x": 1},
}


def is_whole(data: bytes) -> bool:
    """Return whether a request is complete."""
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return b"\r\n0\r\n" in body and body.endswith(b"\r\n\r\n")
    return len(body) == int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])


@dataclass
class Lambda:
    """A Runtime API. It serves `events`, and records the packets of each other request.

    `uses` has the last parts of the paths that came by each connection. A response is accepted when
    `accepting` is set, or its connection is broken if `leaves` is.
    """

    events: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    requests: asyncio.Queue[tuple[str, list[bytes]]] = field(default_factory=asyncio.Queue)
    headers: str = ""
    waiting: int = 0
    connections: int = 0
    uses: list[list[str]] = field(default_factory=list)
    closed: asyncio.Queue[list[str]] = field(default_factory=asyncio.Queue)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""
    break_off: bool = False
    refuse_errors: bool = False
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    status: str = "202 Accepted"
    accepting: asyncio.Event = field(default_factory=asyncio.Event)
    leaves: bool = False

    def __post_init__(self) -> None:
        """Accept at once."""
        self.accepting.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        uses: list[str] = []
        self.uses.append(uses)
        while True:
            packets = [await reader.read(65536)]
            if not packets[0]:
                self.closed.put_nowait(uses)
                return
            path = packets[0].split(b" ")[1].decode()
            uses.append(path.rpartition("/")[2])
            if path.endswith("/next"):
                self.waiting += 1
                self.ready.set()
                event = await self.events.get()
                self.waiting -= 1
                number = self.events.qsize()
                writer.write(
                    f"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r{number}\r\n{self.headers}"
                    f"Content-Length: {len(event)}\r\n\r\n".encode()
                    + event
                )
                continue
            while not is_whole(b"".join(packets)):
                if self.break_off:
                    writer.transport.abort()
                    return
                packets.append(await reader.read(65536))
                if not packets[-1]:
                    self.closed.put_nowait(uses)
                    return
            if self.refuse_errors and path.endswith("/error"):
                self.refused.set()
                writer.transport.abort()
                return
            self.requests.put_nowait((path, packets))
            await self.accepting.wait()
            if self.leaves:
                writer.transport.abort()
                return
            writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())


async def run(
    lambda_: Lambda,
    app: Callable[..., Awaitable[None]],
    *events: Any,
    one_connection: bool = False,
) -> list[tuple[str, list[bytes]]]:
    """Serve some events with an application. Return what the Runtime API received."""
    api = RuntimeApi(lambda_.address, one_connection=one_connection)
    server = asyncio.ensure_future(serve(app, api))
    received = []
    async with asyncio.timeout(60):
        for event in events:
            lambda_.events.put_nowait(json.dumps(event).encode())
            received.append(await lambda_.requests.get())
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server
    return received


def unchunk(data: bytes) -> tuple[list[bytes], bytes]:
    """Split a chunked body into its chunks and its trailers."""
    chunks: list[bytes] = []
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return chunks, data
        chunks.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Stream two pieces."""
    headers = [(b"Content-Type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    headers += [(b"vary", b"a"), (b"vary", b"b")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    for piece in (b"hello", b", ", b"world"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})
