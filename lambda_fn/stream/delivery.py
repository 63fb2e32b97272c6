"""Encodes the batches of any source and sends them to one client.

It sends heartbeats while there is nothing else to send. A delivery neither produces nor cancels
anything. The pipeline decides whether the source goes on after the client has left.
"""

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from lambda_fn import limits
from lambda_fn.encode import Encoder
from lambda_fn.encode.base import unfinished
from lambda_fn.errors import APIError, Unavailable
from lambda_fn.event_log import Source, Unended, error_of
from lambda_fn.events import End, Event, Failed
from lambda_fn.stream.sinks import Sink

if TYPE_CHECKING:
    from lambda_fn.stream.usage_counter import Pace


class State(enum.Enum):
    """The state of a delivery."""

    WAITING = enum.auto()
    """Nothing was sent, so a failure still has its own HTTP status. This state ends with the first
    bytes to send, and after `first_wait` at the latest.
    """
    STARTED = enum.auto()
    """The status 200 was sent, so a failure ends the response in its own form."""


class Delivery:
    """One client's response."""

    def __init__(
        self,
        encoder: Encoder,
        sink: Sink,
        *,
        heartbeat: float | None = None,
        pace: "Pace | None" = None,
        first_wait: float | None = None,
    ) -> None:
        """Join an encoder to a sink. `heartbeat` is the longest silence towards it, in seconds,
        and `first_wait` the longest time until the response begins (`limits.FIRST_EVENT_WAIT`).
        `pace` is told of what is written.
        """
        self._pace = pace
        self._encoder = encoder
        self._sink = sink
        self._heartbeat = limits.HEARTBEAT if heartbeat is None else heartbeat
        wait = limits.FIRST_EVENT_WAIT if first_wait is None else first_wait
        self._quiet_at = time.monotonic() + min(wait, self._heartbeat)
        self._state = State.WAITING
        self._patience: asyncio.Timeout | None = None
        self._failure: APIError | None = None
        self._notice = b""
        self._slow = False
        self._full = False
        """Whether the client cannot take more."""
        self._broken: Exception | None = None

    @property
    def has_started(self) -> bool:
        """Whether the status 200 was sent."""
        return self._state is State.STARTED

    async def run(self, source: Source) -> None:
        """Send the whole response, or what there is of it and an error. A source that ends without
        a terminal event is broken off.

        Raises:
            APIError: it failed, or its source ended, before anything was sent.
            ResponseBroken: it failed later, and its form cannot say so, or its client did not take
                the end, or its source ended without a terminal event, or the client was let go.
            Exception: what the sink raises when the client has left.

        """
        try:
            async with asyncio.timeout(None) as self._patience:
                try:
                    await self._carry(source)
                except APIError as error:
                    if self._state is State.WAITING:
                        raise
                    await self._fail(error)
                except Unended:
                    if self._state is State.WAITING:
                        raise _unended() from None
                    self._sink.abort("unended")
        except TimeoutError:
            if self._slow:
                self._sink.abort("slow_client")
            if self._failure is None:
                raise
            if self._state is State.WAITING:
                raise self._failure from None
            self._abort(self._failure)
        finally:
            # An error refers to its frames, and they refer to this delivery: break the cycle.
            self._patience = self._failure = self._broken = None

    def hasten(self, failure: APIError) -> None:
        """Allow the client `LAST_WRITE_TIMEOUT` seconds to take the rest of a failed response."""
        if self._patience is not None and self._failure is None:
            self._failure = failure
            self._patience.reschedule(asyncio.get_running_loop().time() + limits.LAST_WRITE_TIMEOUT)

    def let_go(self) -> None:
        """Break the response off, because its client is too slow. It can be resumed."""
        if self._patience is not None and not self._slow:
            self._slow = True
            self._patience.reschedule(asyncio.get_running_loop().time())

    def notice(self, data: bytes) -> None:
        """Send bytes of the response's form before the next ones."""
        self._notice += data

    async def _carry(self, source: Source) -> None:
        read, encode, sink, waiting = source.read, self._encoder.encode, self._sink, State.WAITING
        wrote = None if self._pace is None else self._pace.wrote
        take = None if sink.put is None else self._take
        events: list[Event]
        while True:
            batch = await read(self._quiet_at, None if self._state is waiting else take)
            if self._broken is not None:
                raise self._broken
            if self._full:
                self._full = False
                await sink.write(b"")
            events = [] if batch is None else batch[1]
            data = encode(events)
            last = type(events[-1]) if events else None
            if not data and last is not Failed and time.monotonic() >= self._quiet_at:
                data = self._encoder.heartbeat()
                if self._pace is not None:
                    self._pace.beat()
            if self._notice and self._state is not waiting:
                data, self._notice = self._notice + data, b""
            if data or last is End:
                # The end of the response goes out together with the last data.
                write = sink.end if last is End else sink.write
                if self._state is waiting:
                    await self._start(write, data)
                else:
                    await write(data)
                if last is End:
                    return
                now = time.monotonic()
                self._quiet_at = now + self._heartbeat
                if wrote is not None:
                    wrote(now)
            if last is Failed:
                raise error_of(events[-1])  # type: ignore[arg-type]

    def _take(self, events: list[Event]) -> bool:
        """Send a batch that the source hands over while it is read, without waiting.

        Return whether it may hand over more. What goes wrong, the reader raises.
        """
        try:
            data = self._encoder.encode(events)
            if self._notice:
                data, self._notice = self._notice + data, b""
            if not data:
                return True
            self._full = not self._sink.put(data)  # type: ignore[misc] # `_carry` has asked for it
        except Exception as error:  # noqa: BLE001 (`_carry` raises it)
            self._broken = error
            return False
        now = time.monotonic()
        self._quiet_at = now + self._heartbeat
        if self._pace is not None:
            self._pace.wrote(now)
        return not self._full

    async def _start(self, write: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
        self._state = State.STARTED
        content_type = self._encoder.content_type.encode()
        headers = [(b"content-type", content_type), (b"cache-control", b"no-cache, no-transform")]
        await self._sink.start(200, headers)
        await write(self._encoder.begin() + data)

    async def _fail(self, error: APIError) -> None:
        ending = self._encoder.fail(error)
        if self._pace is not None:
            self._pace.failed(error)
        self.hasten(error)
        if ending is None:
            await self._sink.write(unfinished(error))
            self._abort(error)
        else:
            await self._sink.end(ending)

    def _abort(self, error: APIError) -> None:
        self._sink.abort(error.code or error.type)


def _unended() -> Unavailable:
    """Return the error for a response whose end is not stored, so that nothing of it is sent."""
    return Unavailable(
        "It could not be stored how the response ended, so nothing of it is sent. Try again.",
        code="log_unavailable",
        retry_after=5,
    )
