"""Sockets on API Gateway for tests: its events, and what takes the posts of the function."""

import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from lambda_fn.socket.gateway.posts import ClientGone


def event(
    connection_id: str,
    kind: str = "MESSAGE",
    body: object = None,
    *,
    sent: float,
    message_id: str | None = None,
) -> bytes:
    """Return the event of an asynchronous route, as the request template makes it.

    `body` is JSON, or a text as it is sent. `sent` is in Unix seconds.
    """
    text = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
    context = {
        "connectionId": connection_id,
        "eventType": kind,
        "messageId": (message_id or str(uuid.uuid4())) if kind == "MESSAGE" else "",
        "requestTimeEpoch": round(sent * 1000),
    }
    return json.dumps(
        {"requestContext": context, "body": base64.b64encode(text.encode()).decode()}
    ).encode()


def opening(
    connection_id: str, headers: dict[str, str], query: dict[str, str] | None = None
) -> bytes:
    """Return the event of `$connect`."""
    context = {
        "connectionId": connection_id,
        "eventType": "CONNECT",
        "requestTimeEpoch": 1,
        "identity": {"sourceIp": "192.0.2.1"},
    }
    return json.dumps(
        {"requestContext": context, "headers": headers, "queryStringParameters": query}
    ).encode()


@dataclass
class Clients:
    """Takes posts in place of `@connections`. `gone` are the connections that have left."""

    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    closed: list[str] = field(default_factory=list)

    async def post(self, connection_id: str, data: bytes) -> None:
        """Keep a message. Raises ClientGone."""
        if connection_id in self.gone:
            raise ClientGone
        self.posted.append((connection_id, json.loads(data)))

    async def is_open(self, connection_id: str) -> bool:
        """Return whether a connection has not left."""
        return connection_id not in self.gone

    async def close(self, connection_id: str) -> bool:
        """Note that a socket is closed, and return True."""
        self.closed.append(connection_id)
        return True

    def to(self, connection_id: str) -> list[dict[str, Any]]:
        """Return what a client got."""
        return [message for key, message in self.posted if key == connection_id]


@asynccontextmanager
async def web_sockets() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client that closes the sockets that a test has left open.

    One that only the garbage collector found would be a warning of some later test.
    """
    opened: list[aiohttp.ClientWebSocketResponse] = []

    class Opened(aiohttp.ClientWebSocketResponse):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            opened.append(self)

    async with aiohttp.ClientSession(ws_response_class=Opened) as session:
        yield session
        for socket in opened:
            await socket.close()
