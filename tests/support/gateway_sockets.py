"""The socket function in this process, over the local cloud's WebSocket API."""

import asyncio
import json
import time
import uuid
from typing import Any

import aiohttp

from lambda_fn.http.client import Client
from lambda_fn.runtime.api import Context
from lambda_fn.settings import Settings
from lambda_fn.socket.gateway.app import Gateway
from lambda_fn.socket.gateway.control import Control
from tests.support.function import (
    CREDENTIALS,
    KEY,
)
from tests.support.websocket_apis import Plane

ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


class Sockets:
    """A deployment of sockets in this process."""

    def __init__(self, plane: Plane, settings: Settings, http: Client) -> None:
        """Invoke the gateway for each event of the plane."""
        self.plane = plane
        self.settings, self.http = settings, http
        self.answering = Gateway(settings, http, lambda: CREDENTIALS)
        self.gateway: Control = self.answering
        self.control = Control(settings, http, lambda: CREDENTIALS)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.count = 0
        self.invocations: list[tuple[str, dict[str, Any]]] = []
        """The request ids of invocations, with their events."""
        self._came = asyncio.Event()
        plane.functions.answer = self._invoke
        self._pump = asyncio.create_task(self._later())

    async def _invoke(self, event: dict[str, Any]) -> Any:
        context = Context(str(uuid.uuid4()), time.time() + 500, "arn", "", "")
        self.invocations.append((context.request_id, event))
        return await self.gateway.answer(json.dumps(event).encode(), context)

    async def _later(self) -> None:
        while True:
            event = await self.plane.functions.later_invoked.get()
            task = asyncio.create_task(self._invoke(event))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            self.count += 1
            self._came.set()

    async def invoked(self, count: int) -> None:
        """Wait until so many messages have reached a function."""
        while self.count < count:
            self._came.clear()
            await self._came.wait()

    async def told(self, failed: tuple[str, dict[str, Any]], *, begun: bool = True) -> None:
        """Report to the control function that an invocation has failed."""
        by, event = failed
        condition = "RetriesExhausted" if begun else "EventAgeExceeded"
        context = {"requestId": by, "condition": condition}
        record = {"requestContext": context, "requestPayload": event}
        answers, self.gateway = self.gateway, self.control
        try:
            await self._invoke(record)
        finally:
            self.gateway = answers

    async def open(self, **headers: str) -> aiohttp.ClientWebSocketResponse:
        """Open a socket with the key."""
        return await self.plane.connect(headers={"Authorization": f"Bearer {KEY}", **headers})

    async def at_rest(self) -> None:
        """Wait until no function runs."""
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def stop(self) -> None:
        """End everything."""
        self._pump.cancel()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(self._pump, *self.tasks, return_exceptions=True)


async def until_end(
    socket: aiohttp.ClientWebSocketResponse, count: int = 1
) -> list[dict[str, Any]]:
    """Return the events until so many responses have ended."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while count:
            events.append(json.loads(await socket.receive_str()))
            count -= events[-1]["type"] in ENDS
    return events


async def until(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """Return the next event of a kind."""
    async with asyncio.timeout(60):
        while True:
            event: dict[str, Any] = json.loads(await socket.receive_str())
            if event["type"] == kind:
                return event


def create(**members: Any) -> dict[str, Any]:
    """Return a request."""
    return {"type": "response.create", "model": "m", "input": "Hi", **members}


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the text of deltas."""
    return "".join(event.get("delta", "") for event in events)
