"""Admission control: bounds how many answers are generated at once, and queues other requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from itertools import count as numbers
from typing import TYPE_CHECKING

from model.errors import InvalidRequestError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

KEPT_FREE = 8  # 1/KEPT_FREE of the places are kept for callers that hold none
SHARE = 2  # a caller may fill at most 1/SHARE of the queue


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request in the queue."""

    count: int
    number: int  # in order of arrival
    turn: asyncio.Future[None]
    passed: int = 0  # places that requests behind it got meanwhile


@dataclass(slots=True)
class _Caller:
    """A caller: the places that it holds, and its requests in the queue."""

    name: str
    held: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)


class Admission:
    """Hands out `parallel` places; a request of n choices takes n of them.

    The next places go to the caller that holds the fewest; among equals, to the one whose request
    came first. The requests of one caller are served in order. Other requests may pass one that
    does not fit yet, until they have taken `parallel` places; then they wait for it. Some places
    are kept for callers that hold none.

    At most `queue` requests wait, and at most half of them are one caller's. A further request is
    rejected with OverloadedError at once. Requests without a caller's name count as one caller, to
    which all places and the whole queue are open.
    """

    def __init__(self, parallel: int, queue: int) -> None:
        self.waiting = 0
        self._parallel = parallel
        self._free = parallel
        self._kept = parallel // KEPT_FREE
        self._queue = queue
        self._numbers = numbers()
        self._callers: dict[str, _Caller] = {}

    @contextlib.asynccontextmanager
    async def places(self, count: int, caller: str = "") -> AsyncGenerator[None, None]:
        """Wait in turn for `count` places, and hold them within the block.

        Raises InvalidRequestError if there are fewer places in all, and OverloadedError if too many
        requests wait.
        """
        if count > self._parallel:
            raise InvalidRequestError(
                f"n: at most {self._parallel} choices are generated at once here", "n"
            )
        state = self._callers.setdefault(caller, _Caller(caller))
        try:
            await self._take(count, state)
            try:
                yield
            finally:
                self._release(count, state)
        finally:
            if not (state.held or state.waiting):
                self._callers.pop(caller, None)

    async def _take(self, count: int, state: _Caller) -> None:
        entry = _Waiting(count, next(self._numbers), asyncio.get_running_loop().create_future())
        state.waiting.append(entry)
        self.waiting += 1
        self._admit()
        if not entry.turn.done():
            self._check_queue(state, entry)
        try:
            await entry.turn
        except asyncio.CancelledError:
            if entry.turn.cancelled():
                self._leave(state, entry)
                self._admit()  # the requests behind it may fit now
            else:  # it was admitted in the same step in which it was cancelled
                self._release(count, state)
            raise

    def _check_queue(self, state: _Caller, entry: _Waiting) -> None:
        why = f"{self._parallel} requests are running and {self._queue} waiting; try again shortly"
        if state.name and len(state.waiting) > max(1, self._queue // SHARE):
            why = (
                f"{len(state.waiting) - 1} requests of this caller are waiting; try again when "
                "some have ended"
            )
        elif self.waiting <= self._queue:
            return
        self._leave(state, entry)
        raise OverloadedError(why)

    def _leave(self, state: _Caller, entry: _Waiting) -> None:
        state.waiting.remove(entry)
        self.waiting -= 1

    def _release(self, count: int, state: _Caller) -> None:
        self._free += count
        state.held -= count
        self._admit()

    def _admit(self) -> None:
        while (state := self._next()) is not None:
            entry = state.waiting.popleft()
            self.waiting -= 1
            self._free -= entry.count
            state.held += entry.count
            entry.turn.set_result(None)

    def _next(self) -> _Caller | None:
        """Return the caller whose first request gets its places now, or None."""
        better: list[_Waiting] = []
        queues = [state for state in self._callers.values() if state.waiting]
        for state in sorted(queues, key=lambda state: (state.held, state.waiting[0].number)):
            entry = state.waiting[0]
            if entry.count <= self._free - (self._kept if state.held and state.name else 0):
                for each in better:
                    each.passed += entry.count
                return state
            if entry.passed >= self._parallel:
                return None
            better.append(entry)
        return None
