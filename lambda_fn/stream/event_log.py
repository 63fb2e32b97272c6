"""Numbered events of a response, and the logs that keep them so that they can be read again.

A batch is the number of its first event and the events. The producer numbers the events of a
response from 0, in the order in which they leave the transforms. The last one is its terminal
event, an `End` or a `Failed`.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from lambda_fn.encode import Head
from lambda_fn.errors import APIError, ServerError
from lambda_fn.events import Event, Failed

Batch = tuple[int, list[Event]]


class Source(Protocol):
    """Where a delivery gets its batches: a producer, or a log that is read."""

    async def read(self, until: float) -> Batch | None:
        """Return the next batch, which has at least one event, or None if none came in time.

        It waits until `until`, a time of `time.monotonic`. It is not called again after the
        terminal event.
        """
        ...


class EventLog(Protocol):
    """The log of one response."""

    async def open(self, head: Head) -> None:
        """Keep the head. It is called once, before the model is invoked."""
        ...

    async def append(self, batch: Batch) -> None:
        """Keep a batch, whose number follows that of the last event."""
        ...

    async def end(self) -> None:
        """Close the log. It is called once, after the batch with the terminal event."""
        ...

    def read(self, after: int) -> Source:
        """Return a source of the events with numbers above `after`, future ones included.

        To read from the first event on, `after` is -1.
        """
        ...


class NoLog:
    """Keeps nothing: a response can only be delivered while it is produced."""

    async def open(self, head: Head) -> None:
        """Do nothing."""

    async def append(self, batch: Batch) -> None:
        """Do nothing."""

    async def end(self) -> None:
        """Do nothing."""

    def read(self, after: int) -> Source:
        """Raise LookupError."""
        raise LookupError("this response is not kept")


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

    async def append(self, batch: Batch) -> None:
        """Keep a batch.

        Raises:
            ValueError: the log has ended, or the batch's number does not follow.

        """
        first, events = batch
        if self.ended or first != len(self.events):
            raise ValueError(f"event {first} does not follow event {len(self.events) - 1}")
        self.events += events
        for grown in self._readers:
            grown.set()

    async def end(self) -> None:
        """Take no more batches."""
        self.ended = True

    def read(self, after: int) -> Source:
        """Return a source of the events with numbers above `after`."""
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


class _MemoryReader:
    """Reads a `MemoryLog` from the event with the number `first` on."""

    def __init__(self, log: MemoryLog, first: int) -> None:
        self._log = log
        self._next = first

    async def read(self, until: float) -> Batch | None:
        if len(self._log.events) <= self._next:
            with self._log.growth() as grown, contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - time.monotonic()):
                    await grown.wait()
        first, events = self._next, self._log.events[self._next :]
        self._next += len(events)
        return (first, events) if events else None


def failed_by(error: APIError) -> Failed:
    """Return the terminal event that stands for an error."""
    return Failed(
        type(error).__name__,
        error.message,
        error.param,
        error.code,
        error.retry_after,
        error.headers,
    )


def error_of(failed: Failed) -> APIError:
    """Return the error that a terminal event stands for.

    If its class is unknown here, the error is a `ServerError`.
    """
    kind = _ERRORS.get(failed.kind, ServerError)
    return kind(
        failed.message,
        param=failed.param,
        code=failed.code,
        retry_after=failed.retry_after,
        headers=failed.headers,
    )


def _with_subclasses(kind: type[APIError]) -> Iterator[type[APIError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _with_subclasses(one)


_ERRORS = {kind.__name__: kind for kind in _with_subclasses(APIError)}
