"""Ends for the seam between what produces a response and what delivers it: an invocation, logs,
sinks, a source.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

from lambda_fn.auth import Caller
from lambda_fn.encode import Head
from lambda_fn.event_log import Batch, LogEnded, Source, Take
from lambda_fn.events import Event
from lambda_fn.ids import new_request_id
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.sinks import AsgiSink, Headers

HANG = object()
"""A step of an invocation that says nothing until it is woken."""


class ScriptedInvocation:
    """An invocation that takes scripted steps.

    A step returns bytes, raises an error, or hangs. Bytes are handed to the reader's `take`, if it
    has one.
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

    async def read(self, until: float, take: Callable[[bytes], bool] | None = None) -> bytes | None:
        """Take the next step. Those that are handed to `take` come before it."""
        while take is not None and self._is_next_data():
            if not take(self._steps.popleft()):
                return None
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

    def _is_next_data(self) -> bool:
        return bool(self._steps) and isinstance(self._steps[0], bytes)

    def wake(self) -> None:
        """Wake a step that hangs."""
        self._woken.set()


class MemoryLog:
    """Keeps a response in the memory of its process."""

    def __init__(self) -> None:
        """Begin without a head."""
        self.head: Head | None = None
        self.events: list[Event] = []
        self.ended = False
        self._readers: list[asyncio.Event] = []

    async def open(self, head: Head) -> None:
        """Keep the head."""
        self.head = head

    def append(self, batch: Batch) -> asyncio.Future[None] | None:
        """Keep a batch.

        Raises:
            LogEnded: the log has ended.
            ValueError: the batch's number does not follow.

        """
        first, events = batch
        if self.ended:
            raise LogEnded
        if first != len(self.events):
            raise ValueError(f"event {first} does not follow event {len(self.events) - 1}")
        self._grow(events)
        return None

    def end(self, batch: Batch) -> asyncio.Future[Batch]:
        """Keep the first terminal event, and return it."""
        if not self.ended:
            self.ended = True
            self._grow(batch[1])
        return _done((len(self.events) - 1, self.events[-1:]))

    def _grow(self, events: list[Event]) -> None:
        self.events += events
        for grown in self._readers:
            grown.set()

    def read(self, after: int) -> Source:
        """Return the events above `after`."""
        return _MemoryReader(self, after + 1)

    @contextlib.contextmanager
    def growth(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set by the next append."""
        grown = asyncio.Event()
        self._readers.append(grown)
        try:
            yield grown
        finally:
            self._readers.remove(grown)


def _done(batch: Batch) -> asyncio.Future[Batch]:
    done: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
    done.set_result(batch)
    return done


class SlowLog(MemoryLog):
    """Keeps what it is given later: after a moment, and not before `gate` is set.

    `held` is set once something waits at a closed gate.
    """

    def __init__(self) -> None:
        """Begin with an open gate."""
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = asyncio.Event()
        self._turn = asyncio.Lock()

    async def _pass(self) -> None:
        if not self.gate.is_set():
            self.held.set()
        await self.gate.wait()

    def append(self, batch: Batch) -> asyncio.Future[None]:
        """Keep a batch later."""
        return asyncio.ensure_future(self._append(batch))

    async def _append(self, batch: Batch) -> None:
        async with self._turn:
            await asyncio.sleep(0)
            await self._pass()
            super().append(batch)

    def end(self, batch: Batch) -> asyncio.Future[Batch]:
        """Keep the end later."""
        return asyncio.ensure_future(self._end(batch))

    async def _end(self, batch: Batch) -> Batch:
        async with self._turn:
            await asyncio.sleep(0)
            await self._pass()
            return await super().end(batch)


class FullLog(MemoryLog):
    """Takes one batch of two events at the most, and then only the end."""

    def append(self, batch: Batch) -> asyncio.Future[None] | None:
        """Refuse a second batch."""
        if batch[0] >= 2:
            raise OSError("full")
        return super().append(batch)


class SlowFullLog(SlowLog):
    """The same, which is said later."""

    async def _append(self, batch: Batch) -> None:
        if batch[0] >= 2:
            await self._pass()
            raise OSError("full")
        await super()._append(batch)


class _MemoryReader:
    """Reads a `MemoryLog` from a place in it."""

    def __init__(self, log: MemoryLog, first: int) -> None:
        self._log = log
        self._next = first

    async def read(self, until: float, take: Take | None = None) -> Batch | None:
        if len(self._log.events) <= self._next:
            with self._log.growth() as grown, contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - time.monotonic()):
                    await grown.wait()
        first, events = self._next, self._log.events[self._next :]
        self._next += len(events)
        return (first, events) if events else None


class ListSink:
    """A sink that keeps what it is sent.

    With `room`, it raises ConnectionError once it has taken that many pieces.
    """

    put: Callable[[bytes], bool] | None = None

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
        self._keep(data)

    def _keep(self, data: bytes) -> None:
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


class PutSink(ListSink):
    """A sink that takes pieces at once. After every second one, it wants to be waited for."""

    def __init__(self, room: int = 1_000_000) -> None:
        """Begin without pieces."""
        super().__init__(room)
        self.puts = 0
        self._is_full = False
        self.put = self._put

    def _put(self, data: bytes) -> bool:
        assert data
        assert not self._is_full
        self._keep(data)
        self.puts += 1
        self._is_full = self.puts % 2 == 0
        return not self._is_full

    async def write(self, data: bytes) -> None:
        """Keep a piece, or only wait if there is none."""
        self._is_full = False
        if data:
            await super().write(data)


class ListCarrier:
    """A carrier without HTTP, whose client keeps what it is sent."""

    method = "POST"

    def __init__(
        self,
        caller: Caller,
        body: bytes,
        *,
        path: str = "/v1/chat/completions",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take the request."""
        self.caller = caller
        self.path = path
        self.headers = headers or {}
        self.request_id = new_request_id()
        self.response_headers: Mapping[str, str] = {}
        self.sink = ListSink()
        self.left: float | None = None
        self.cancel: Callable[[], None] | None = None
        self._body = body
        self._work: list[asyncio.Future[object]] = []

    async def body(self, max_bytes: int) -> bytes:
        """Return the body."""
        assert len(self._body) <= max_bytes
        return self._body

    def seconds_left(self) -> float | None:
        """Return what a test has set."""
        return self.left

    async def admitted(self) -> None:
        """Go on."""

    def running(self, cancel: Callable[[], None]) -> None:
        """Keep what cancels the response."""
        self.cancel = cancel

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Keep the work for `settled`."""
        self._work.append(asyncio.ensure_future(work))

    async def settled(self) -> None:
        """Wait for the work in the background."""
        await asyncio.gather(*self._work)


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

    async def read(self, until: float, take: Take | None = None) -> Batch:
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
