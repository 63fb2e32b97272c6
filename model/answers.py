"""The HTTP responses to generation requests, as ASGI applications.

Before the first byte a failure has its HTTP status; after it, the failure is the last record. The
status therefore waits for the first token, but not for longer than `Timing.open_after`. From then
on, heartbeats show that the request is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.responses import Response

from model.errors import EngineError, ModelError, NotReadyError, RequestCancelledError
from model.events import Event, Start
from model.generation import STOPPING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from starlette.types import Receive, Scope, Send

    from model.generation import Generation, Run
    from model.schema import ChatRequest
    from model.sse import WholeAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times in seconds.

    `heartbeat` stays below the 15 s that every hop on the way to the client allows.

    A caller that reads nothing for `slow_reader` seconds, although there is something to read,
    counts as gone. A cancel whose request has not arrived waits for it for `cancel` seconds. A body
    has `body` seconds to arrive: half of what SageMaker gives a whole answer.
    """

    open_after: float = 2.0
    heartbeat: float = 10.0
    last_write: float = 3.0
    slow_reader: float = 60.0
    cancel: float = 1.0
    body: float = 30.0


class Encoder(Protocol):
    """Turns events into the bytes of one stream format; see `model.lines` and `model.sse`."""

    media_type: bytes

    def opening(self) -> bytes: ...
    def event(self, event: Event) -> bytes: ...
    def heartbeat(self) -> bytes: ...
    def end(self) -> bytes: ...
    def error(self, error: ModelError) -> bytes: ...


def error_response(error: ModelError) -> Response:
    """Return the response for a request that failed before its response began."""
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else None
    return Response(error.body(), error.status, headers, "application/json")


class StreamResponse(Response):
    """Streams the answer while it is generated."""

    def __init__(
        self, generation: Generation, request: ChatRequest, encoder: Encoder, timing: Timing
    ) -> None:
        super().__init__()
        self._generation = generation
        self._request = request
        self._encoder = encoder
        self._timing = timing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request.

        Return when everything is sent and the engine has been told to stop.
        """
        out = _Writer(scope, receive, send, self._encoder, self._timing)
        try:
            async with (
                self._generation.run(self._request) as run,
                _beside(_watch(receive, run), out.tick(run)),
                contextlib.aclosing(self._generation.batches(self._request, run)) as batches,
            ):
                async for events in batches:
                    await out.events(events)
            await out.finish()
        except ModelError as error:
            await out.fail(error)
        except asyncio.CancelledError:
            # Only the server cancels, when it stops. It would log a cancellation that reaches it as
            # a failure.
            await out.fail(NotReadyError(STOPPING))
        except Exception:
            await out.fail(EngineError("the container failed"))
            raise  # the server logs the trace


class WholeResponse(Response):
    """Generates the whole answer, then sends one JSON body."""

    def __init__(self, generation: Generation, request: ChatRequest, answer: WholeAnswer) -> None:
        super().__init__()
        self._generation = generation
        self._request = request
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request. A caller that leaves stops the generation."""
        try:
            async with (
                self._generation.run(self._request) as run,
                _beside(_watch(receive, run)),
                contextlib.aclosing(self._generation.batches(self._request, run)) as batches,
            ):
                async for events in batches:
                    for event in events:
                        self._answer.add(event)
            response = Response(self._answer.body(), media_type="application/json")
        except ModelError as error:
            response = error_response(error)
        except asyncio.CancelledError:
            response = error_response(NotReadyError(STOPPING))
        await response(scope, receive, send)


class _Writer:
    """Writes whole records, one at a time, for the generating task and the ticker."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, encoder: Encoder, timing: Timing
    ) -> None:
        self._asgi = (scope, receive, send)
        self._send = send
        self._encoder = encoder
        self._timing = timing
        self._lock = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._last = self._clock()
        self._sending: float | None = None  # when the write began that waits for the caller
        self._pending: bytes | None = encoder.opening()  # None once the answer has begun

    async def events(self, events: list[Event]) -> None:
        data = b"".join(map(self._encoder.event, events))
        if self._pending is not None and all(isinstance(event, Start) for event in events):
            self._pending += data
        elif data:
            await self._write(data)

    async def finish(self) -> None:
        await self._write(self._encoder.end(), more=False)

    async def fail(self, error: ModelError) -> None:
        """Send the error's status if the response has not begun, or else an error record.

        It gives up after `Timing.last_write` if the caller does not read.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.last_write):
                if self._pending is None or error.record_only:
                    await self._write(self._encoder.error(error), more=False)
                else:
                    self._pending = None
                    await error_response(error)(*self._asgi)

    async def tick(self, run: Run) -> None:
        """Begin the response when it is due, then send heartbeats.

        Stop the run if its caller does not read.
        """
        timing = self._timing
        await asyncio.sleep(timing.open_after)
        if self._pending is not None:
            await self._write(self._encoder.heartbeat())
        while True:
            since, rest = self._sending, self._last + timing.heartbeat - self._clock()
            if since is not None:
                rest = since + timing.slow_reader - self._clock()
                if rest <= 0:
                    run.stop(
                        RequestCancelledError(
                            f"the caller read nothing for {timing.slow_reader:g} s"
                        )
                    )
                    return
            if rest > 0:
                await asyncio.sleep(min(rest, timing.slow_reader))
            else:
                await self._write(self._encoder.heartbeat())

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        async with self._lock:
            self._last = self._clock()
            if self._pending is not None:
                data, self._pending = self._pending + data, None
                headers = [
                    (b"content-type", self._encoder.media_type),
                    (b"cache-control", b"no-cache"),
                ]
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self._sending = self._last
            try:
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
            finally:
                self._sending = None


async def _watch(receive: Receive, run: Run) -> None:
    """Stop the run when the caller has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
    run.stop(RequestCancelledError("the caller went away"))


@contextlib.asynccontextmanager
async def _beside(*coroutines: Coroutine[None, None, None]) -> AsyncGenerator[None, None]:
    """Run the coroutines as tasks while the block lasts."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
