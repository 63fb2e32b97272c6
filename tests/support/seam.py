"""Ends for the seam between producer and delivery: an invocation, sinks and a source."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Self

from lambda_fn.events import Event
from lambda_fn.stream.event_log import Batch
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.sinks import AsgiSink, Headers

HANG = object()
"""A step of an invocation that says nothing until it is woken."""


class ScriptedInvocation:
    """An invocation that takes scripted steps.

    A step returns bytes, raises an error, or hangs.
    """

    request_id = "01h00000000000000000000000"

    def __init__(self, steps: Iterable[Any], *, pause: bool = True) -> None:
        """Take the steps. After the last one the body has ended.

        With `pause`, other tasks run before each step.
        """
        self._pause = pause
        self._steps = deque(steps)
        self._woken = asyncio.Event()
        self.over = False
        self.closed = False

    async def __aenter__(self) -> Self:
        """Send nothing."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Record the exit."""
        self.closed = True

    async def read(self, until: float) -> bytes | None:
        """Take the next step."""
        step = self._steps.popleft() if self._steps else b""
        if callable(step):
            raise step()
        if step is HANG:
            self._steps.appendleft(HANG)
            try:
                async with asyncio.timeout(None if until == math.inf else until - time.monotonic()):
                    await self._woken.wait()
            except TimeoutError:
                pass
            return None
        if self._pause:
            await asyncio.sleep(0)
        data: bytes = step
        return data

    def wake(self) -> None:
        """Wake a step that hangs."""
        self._woken.set()


class ListSink:
    """A sink that keeps what it is sent.

    With `room`, it raises ConnectionError once it has taken that many pieces.
    """

    def __init__(self, room: int = 1_000_000) -> None:
        """Begin without pieces."""
        self.status = 0
        self.started = asyncio.Event()
        self.pieces: list[bytes] = []
        self.ends = 0
        self.aborted: str | None = None
        self._room = room

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    async def start(self, status: int, headers: Headers) -> None:
        """Keep the status."""
        assert self.status == 0
        self.status = status
        self.started.set()

    async def write(self, data: bytes) -> None:
        """Keep a piece."""
        assert self.status
        assert not self.ends
        if len(self.pieces) == self._room:
            raise ConnectionError("the client has left")
        self.pieces.append(data)

    async def end(self, data: bytes) -> None:
        """Keep the last piece."""
        await self.write(data)
        self.ends += 1

    def abort(self, code: str) -> None:
        """Keep the error's code."""
        self.aborted = code
        self.ends += 1


class RecordingAsgiSink(AsgiSink):
    """The ASGI sink, with an application server that keeps everything in a `ListSink`."""

    def __init__(self) -> None:
        """Begin without pieces."""
        self.kept = ListSink()
        super().__init__(self._receive)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self.kept.body

    @property
    def ends(self) -> int:
        """The number of times that the response has ended."""
        return self.kept.ends

    async def _receive(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            await self.kept.start(message["status"], message["headers"])
        else:
            await (self.kept.write if message["more_body"] else self.kept.end)(message["body"])


class TailSink(ListSink):
    """The sink of a resumed client.

    It drops the first `skip` bytes, which the client has already.
    """

    def __init__(self, skip: int) -> None:
        """Begin without pieces."""
        super().__init__()
        self._skip = skip

    async def write(self, data: bytes) -> None:
        """Keep the bytes that the client does not have yet."""
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        await super().write(data[dropped:])


class Rebatched:
    """A source of the same events in other batches. Without `cuts`, each batch has one event."""

    def __init__(self, events: Sequence[Event], cuts: Iterable[int] | None = None) -> None:
        """Cut the events at these positions."""
        places = range(len(events)) if cuts is None else (cut % len(events) for cut in cuts)
        bounds = sorted({0, *places, len(events)})
        self._batches = [(first, list(events[first:after])) for first, after in pairwise(bounds)]

    async def read(self, until: float) -> Batch | None:
        """Return the next batch."""
        return self._batches.pop(0)


async def pump(producer: Producer) -> list[Batch]:
    """Read a producer to its end without a delivery. Return its batches."""
    batches = []
    while not producer.ended:
        batch = await producer.read(math.inf)
        if batch is not None:
            batches.append(batch)
    return batches
