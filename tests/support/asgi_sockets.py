"""A socket of the application, as an ASGI server brings it."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lambda_fn.http.client import Client
from lambda_fn.settings import Model, Settings
from lambda_fn.socket.asgi import create_app
from tests.support.function import CREDENTIALS, KEY, ORIGIN, TABLE, StandIn

CREATE = {"type": "response.create", "model": "m", "input": "Hi", "max_output_tokens": 20}
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


class Socket:
    """The client's end of one socket."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.left = asyncio.Event()
        """Set when the client has left."""
        self.reads = asyncio.Event()
        self.reads.set()
        self.sent = 0
        """The number of messages that the application has sent."""

    async def receive(self) -> dict[str, Any]:
        """Return the next message of the client. It is ASGI's `receive`."""
        return await self._in.get()

    async def send(self, message: Any) -> None:
        """Take a message of the application once the client reads. It is ASGI's `send`."""
        await self.reads.wait()
        self.sent += 1
        self._out.put_nowait(message)

    def put(self, message: dict[str, Any] | str | bytes) -> None:
        """Send a message: an object as JSON, or text or bytes as they are."""
        data = json.dumps(message) if isinstance(message, dict) else message
        kind = "bytes" if isinstance(data, bytes) else "text"
        self._in.put_nowait({"type": "websocket.receive", kind: data})

    def leave(self, code: int = 1006) -> None:
        """Break the connection."""
        self.left.set()
        self._in.put_nowait({"type": "websocket.disconnect", "code": code})

    async def message(self) -> dict[str, Any]:
        """Return the next message of the application, as ASGI has it."""
        async with asyncio.timeout(60):
            return await self._out.get()

    async def event(self) -> dict[str, Any]:
        """Return the next event."""
        message = await self.message()
        assert message["type"] == "websocket.send", message
        event: dict[str, Any] = json.loads(message["text"])
        return event

    async def events(self, lane: str | None = None) -> list[dict[str, Any]]:
        """Return the events up to the end of a response, which must all be of one lane."""
        found = [await self.event()]
        while found[-1]["type"] not in ENDS:
            found.append(await self.event())
        assert {event.get("stream_id") for event in found} == {lane}
        return found

    async def lanes(self, *names: str | None) -> dict[str | None, list[dict[str, Any]]]:
        """Return the events of several lanes, each up to the end of a response."""
        found: dict[str | None, list[dict[str, Any]]] = {name: [] for name in names}
        while not all(events and events[-1]["type"] in ENDS for events in found.values()):
            event = await self.event()
            found[event.get("stream_id")].append(event)
        return found

    async def closed(self) -> int:
        """Return the code with which the application closes the socket."""
        while (message := await self.message())["type"] == "websocket.send":
            pass
        assert message["type"] == "websocket.close", message
        return int(message["code"])


Connect = Callable[..., Any]


def connector(moto_url: str, sagemaker: StandIn, http: Client, changes: dict[str, Any]) -> Connect:
    """Return a function that opens sockets of one application."""
    settings = Settings(
        region="eu-west-1",
        usage_table=TABLE,
        models={"m": Model(endpoint="endpoint-1", context_tokens=1000)},
        origin_secrets=(ORIGIN, "previous"),
        dynamodb_url=moto_url,
        sagemaker_url=sagemaker.url,
    )
    app = create_app(dataclasses.replace(settings, **changes), http, lambda: CREDENTIALS)

    @asynccontextmanager
    async def connect(
        *,
        key: str | None = KEY,
        path: str = "/v1/responses",
        origin: str = ORIGIN,
        more: dict[str, str] | None = None,
        extensions: dict[str, Any] | None = None,
        accepts: bool = True,
        socket: Socket | None = None,
    ) -> AsyncIterator[Socket]:
        """Open a socket, and wait for its end when it was left."""
        headers = [(b"x-sluice-origin-secret", origin.encode())]
        headers += [(name.encode(), value.encode()) for name, value in (more or {}).items()]
        if key is not None:
            headers.append((b"authorization", f"Bearer {key}".encode()))
        scope = {
            "type": "websocket",
            "path": path,
            "headers": headers,
            "query_string": b"",
            "subprotocols": [],
            "extensions": {} if extensions is None else extensions,
            "client": ("127.0.0.1", 1),
        }
        socket = socket or Socket()
        socket._in.put_nowait({"type": "websocket.connect"})
        running = asyncio.ensure_future(app(scope, socket.receive, socket.send))
        try:
            if accepts:
                accepted = await socket.message()
                assert accepted["type"] == "websocket.accept", accepted
            yield socket
        finally:
            socket.reads.set()
            socket.leave()
            async with asyncio.timeout(60):
                await running

    connect.app = app  # type: ignore[attr-defined]
    return connect
