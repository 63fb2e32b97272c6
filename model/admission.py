"""Admission: how many answers are generated at once, and how many requests wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from model.errors import InvalidRequestError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Admission:
    """`parallel` slots, first come first served. A request for n choices takes n slots.

    At most `queue` requests wait. The next one is refused with OverloadedError at once.
    """

    def __init__(self, parallel: int, queue: int) -> None:
        self._parallel = parallel
        self._free = parallel
        self._queue = queue
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def places(self, count: int) -> AsyncGenerator[None, None]:
        """Hold `count` slots, and wait for them in turn."""
        if count > self._parallel:
            raise InvalidRequestError(
                f"n: at most {self._parallel} choices are generated at once here; ask for fewer", "n"
            )
        await self._take(count)
        try:
            yield
        finally:
            self._free += count
            self._admit()

    async def _take(self, count: int) -> None:
        if not self._waiting and count <= self._free:
            self._free -= count
            return
        if len(self._waiting) >= self._queue:
            raise OverloadedError(f"{self._parallel} requests are running and {self._queue} waiting; try again shortly")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (count, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(entry)
            else:  # the request was admitted in the same step in which it was cancelled
                self._free += count
            self._admit()  # the next request in the queue may fit now
            raise

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            count, turn = self._waiting.popleft()
            self._free -= count
            turn.set_result(None)
