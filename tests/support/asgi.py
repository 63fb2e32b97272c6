"""One request to an ASGI application in this process."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass
class Reply:
    """A response: its status, its headers and its whole body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def request(
    app: Any,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    query: bytes = b"",
    event: Mapping[str, Any] | None = None,
) -> Reply:
    """Make a request as Lambda's runtime does, with the body in one message, and wait for its end.

    `event` is the event of the invocation, where an application reads it.
    """
    reply, after = Reply(), list[asyncio.Future[object]]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        reply.status = message.get("status", reply.status)
        reply.headers |= {it.decode(): to.decode() for it, to in message.get("headers", ())}
        reply.body += message.get("body", b"")

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": quote(path).encode(),
        "root_path": "",
        "http_version": "1.1",
        "headers": [*headers],
        "query_string": query,
        "state": {},
        "aws.after": after,
        "aws.event": event or {},
    }
    await app(scope, receive, send)
    await asyncio.gather(*after)
    return reply
