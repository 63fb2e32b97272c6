"""Writes the logs of an environment together, so that it wakes up less often.

Waking up costs a process more than a write does (docs/explanation/performance.md). So when the
events of one log are due, those of other logs that are due soon are written with them. From then on
these logs are due at the same times.
"""

import asyncio
from typing import Protocol

from lambda_fn import limits

_MOST = 16
"""Logs that are written in one turn of the event loop, so that tokens do not wait for many."""


class Flushed(Protocol):
    """The log of a response that this process produces."""

    def flush(self) -> None:
        """Begin to write the events that wait. It raises nothing."""
        ...


class Flushes:
    """When the logs of one environment are written. There is no timer while none is due."""

    def __init__(self) -> None:
        """Begin without logs."""
        self._due: dict[Flushed, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, log: Flushed, when: float) -> None:
        """Write a log at a time of `time.monotonic`, or up to `limits.LOG_FLUSH_EARLY` before."""
        self._due[log] = when
        if self._timer is not None and self._timer.when() > when:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    def discard(self, log: Flushed) -> None:
        """Do not write a log, if it is due."""
        if self._due.pop(log, None) is not None and not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + limits.LOG_FLUSH_EARLY
        due = [log for log, when in self._due.items() if when <= until]
        due.sort(key=self._due.__getitem__)
        for log in due[:_MOST]:
            del self._due[log]
            log.flush()
        self._timer = loop.call_at(min(self._due.values()), self._ring) if self._due else None
