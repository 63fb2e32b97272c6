"""Passes events from threads to one reader on the event loop, through a bounded buffer."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.errors import ModelError
    from model.events import Event


class Bridge:
    """A bounded buffer. Create it on the loop: `writers` threads write and end, one task reads.

    While the buffer holds `bound` events, a writer waits until the reader takes them or leaves. The
    loop is woken once for everything that is written before it runs, so a busy loop gets larger
    batches instead of more wake-ups.
    """

    def __init__(self, writers: int, bound: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._room = threading.Condition()
        self._bound = bound
        self._events: list[Event] = []
        self._writers = writers
        self._error: ModelError | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the reader has left, so that a writer need not begin."""
        return self._closed

    def put(self, events: list[Event]) -> bool:
        """Write from a thread, and wait for room; return false if the reader has left."""
        with self._room:
            self._room.wait_for(lambda: self._closed or len(self._events) < self._bound)
            if self._closed:
                return False
            self._events += events
            if len(self._events) == len(events):
                self._wake()
            return True

    def end(self, error: ModelError | None = None) -> None:
        """Note, from a writer's thread, that it writes no more. The reader gets the first error."""
        with self._room:
            self._writers -= 1
            self._error = self._error or error
            if not self._closed:
                self._wake()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._ready.set)

    async def take(self) -> list[Event]:
        """Wait for events; return all that have come.

        The list is empty once every writer has ended.

        Raises the first error of a writer, after its events.
        """
        while True:
            await self._ready.wait()
            with self._room:
                self._ready.clear()
                events, self._events = self._events, []
                self._room.notify_all()
                if events or (self._writers == 0 and self._error is None):
                    if self._error is not None or self._writers == 0:
                        self._ready.set()  # the end follows these events
                    return events
                if self._error is not None:
                    raise self._error

    def close(self) -> None:
        """Note that the reader leaves. Waiting writers go on and learn of it."""
        with self._room:
            self._closed = True
            self._events = []
            self._room.notify_all()
