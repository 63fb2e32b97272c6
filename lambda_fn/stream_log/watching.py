"""Watches the heads of all responses that an environment logs: once a second, in one call, or in
one for each hundred.

A head tells its producer that the response was cancelled, deleted or ended by somebody else, and
whether it is tailed. The same timer has the producers renew their leases. There is no timer while
nothing is logged.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import MAX_KEYS, Key, MeterUnavailable, Table
from lambda_fn.stream_log.flushing import Flushes
from lambda_fn.stream_log.keys import WATCHED, head_key, reader_keys


class Watched(Protocol):
    """The log of a response that this process produces."""

    @property
    def has_lease(self) -> bool:
        """Whether its lease is renewed."""
        ...

    def wanted(self) -> list[Key]:
        """Return the keys of the items to read."""
        ...

    def seen(self, found: Mapping[Key, Item | None]) -> bool:
        """Take the items that were read. Return whether the response has ended.

        None stands for an item that does not exist. A key is missing if it was not read. Raises
        nothing.
        """
        ...

    async def renew(self) -> bool:
        """Renew the lease. Return whether the response has ended. Raises MeterUnavailable."""
        ...


class _Lease:
    """When the lease of a log was renewed, by `time.monotonic`, and what is under way for it."""

    def __init__(self) -> None:
        self.renewed = time.monotonic()
        self.renewing: asyncio.Task[None] | None = None
        self.looking: asyncio.Task[None] | None = None


class Watch:
    """Watches the logs of one environment.

    A second in which the lease of a log is renewed has no other read of its head. If a read takes
    longer than a second, the next one of its heads is left out. Neither leases nor other heads wait
    for it. A read that fails is not repeated before the next second.
    """

    def __init__(self, table: Table) -> None:
        """Watch nothing yet. `table` is StreamTable."""
        self._table = table
        self.flushes = Flushes()
        """When the logs are written."""
        self.opens = True
        """Whether the last response of this environment could be opened in the table, and named."""
        self._logs: dict[Watched, _Lease] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looking: set[asyncio.Task[None]] = set()

    def add(self, log: Watched) -> None:
        """Watch a log until its response has ended, or `discard` is called."""
        self._logs[log] = _Lease()
        if self._timer is None:
            self._set_timer()

    def discard(self, log: Watched) -> None:
        """Watch a log no longer, if it is watched."""
        lease = self._logs.pop(log, None)
        if lease is not None and lease.renewing is not None:
            lease.renewing.cancel()
        if self._logs or self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        for looking in self._looking:  # nothing may go on in a frozen environment
            looking.cancel()
        self._looking.clear()

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(limits.LOG_WATCH, self._wake)

    def _wake(self) -> None:
        """Renew the leases that are due, and read the heads of all other responses."""
        self._set_timer()
        now, others = time.monotonic(), list[Watched]()
        for log, lease in self._logs.items():
            if log.has_lease and now - lease.renewed >= limits.LEASE_INTERVAL:
                if lease.renewing is None:
                    lease.renewing = asyncio.create_task(self._renew(log, lease, now))
            elif lease.looking is None:
                others.append(log)
        for logs, keys in _calls(others):
            looking = asyncio.create_task(self._look(logs, keys))
            self._looking.add(looking)
            for log in logs:
                self._logs[log].looking = looking

    async def _renew(self, log: Watched, lease: _Lease, now: float) -> None:
        try:
            has_ended = await log.renew()
        except MeterUnavailable:
            return  # the next second tries it again
        finally:
            lease.renewing = None
        lease.renewed = now
        if has_ended:
            self.discard(log)

    async def _look(self, logs: list[Watched], keys: list[Key]) -> None:
        looking = asyncio.current_task()
        try:
            found = await self._table.get_many(keys, WATCHED, max_attempts=1)
        finally:
            self._looking.discard(looking)
            for log in logs:
                lease = self._logs.get(log)
                if lease is not None and lease.looking is looking:
                    lease.looking = None
        for log in logs:
            if log in self._logs and log.seen(found):
                self.discard(log)


def _calls(logs: list[Watched]) -> list[tuple[list[Watched], list[Key]]]:
    """Return the logs, and the keys that they want, in groups that one call can read."""
    calls: list[tuple[list[Watched], list[Key]]] = []
    for log in logs:
        wanted = log.wanted()
        if not calls or len(calls[-1][1]) + len(wanted) > MAX_KEYS:
            calls.append(([], []))
        calls[-1][0].append(log)
        calls[-1][1].extend(wanted)
    return calls


class Tails:
    """Whether a response is tailed, as its producer knows it.

    A reader that takes a slot names itself in the head afterwards. So the slots are read only after
    the head has another name, and then those that are held.
    """

    def __init__(self, response_id: str) -> None:
        """Begin without readers."""
        key = head_key(response_id)
        self.head: Key = (key["pk"], key["sk"])
        """The key of the head."""
        self._all = reader_keys(response_id)
        self._tailer: str | None = None
        self.slots: list[Key] = []
        """The keys of the slots to read with the head next time."""

    @property
    def any(self) -> bool:
        """Whether a reader may tail the response."""
        return bool(self.slots)

    def see(self, head: Item, found: Mapping[Key, Item | None], *, now: float) -> None:
        """Take a head, and the slots that were read. `now` is in Unix seconds."""
        tailer = head.get("tailer")
        if tailer != self._tailer:
            self._tailer, self.slots = tailer, self._all
        else:
            self.slots = [key for key in self.slots if key not in found or _held(found[key], now)]


def _held(slot: Item | None, now: float) -> bool:
    return slot is not None and slot.get("tail_until", 0) > now
