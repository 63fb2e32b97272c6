"""Writes the log of one response to StreamTable. See `event_log.EventLog`.

Events are delivered before they are written, up to `limits.LOG_UNACKNOWLEDGED`. They are written
together, as one segment: the first delta at once, later ones every `limits.LOG_FLUSH`. One segment
is written at a time, on the condition that its key is free. A producer that finds another's segment
there knows that somebody else has ended the response: it is *fenced*.

The environment's `watching.Watch` reads the head once a second, and renews the producer's lease.

A write that fails for `limits.LOG_GIVE_UP` loses the log. Nothing more is written to it then but
its end: it fails with the code `log_unavailable`. If that cannot be written either, the lease ends
it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Key, MeterUnavailable, Table, Update
from lambda_fn.encode import Head
from lambda_fn.event_log import Batch, LogEnded, Source
from lambda_fn.events import Delta, End, Event, Failed, Finish
from lambda_fn.log import log
from lambda_fn.stream_log import segments
from lambda_fn.stream_log.heads import (
    FINAL,
    LOST,
    Ending,
    Status,
    StoredHead,
    after,
    end_segment,
    end_update,
    new_name,
    open_head,
    parse_head,
    put_segment,
    win,
)
from lambda_fn.stream_log.keys import head_key
from lambda_fn.stream_log.reading import read_log
from lambda_fn.stream_log.removal import hide_again
from lambda_fn.stream_log.segments import Segment
from lambda_fn.stream_log.watching import Tails, Watch

_EVENT_SIZE = 64
"""The estimated size in bytes of an event without its delta."""


class TableLog:
    """The log of one response that this process produces."""

    def __init__(
        self,
        table: Table,
        watch: Watch,
        stored: StoredHead,
        counts: Callable[[], tuple[int, int]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the log.

        Args:
            table: StreamTable.
            watch: Watches the heads of this environment.
            stored: The head to open with. Writer, lease and status are set here.
            counts: Returns the raw counts of the tokens of prompt and completion until now.
            now: Returns Unix seconds.

        """
        self._name = new_name()
        self._table = table
        self._watch = watch
        self._stored = stored
        self._counts = counts
        self._now = now
        self.on_end: Callable[[bool], None] | None = None
        """Called when somebody else has ended the response, with True if it was cancelled. It is
        not called after `end`.
        """
        self.may_wait: Callable[[Failed], bool] | None = None
        """Returns whether a response without an event waits for capacity in place of this end."""
        self.waits = False
        """Whether it does. Nothing was written then."""
        self._pending: list[Event] = []
        self._size = 0
        """The size of `_pending` in bytes, roughly."""
        self._under_way = 0
        """The size of the segment that is under way."""
        self._next = 0
        self._decided = 0
        """The number up to which events are only kept, as long as they are small. Their flush is
        set or under way, and there is room for them.
        """
        self._acknowledged = 0
        self._flushing: asyncio.Task[None] | None = None
        self._is_due = False
        """Whether the time of the next flush is set."""
        self._closed = False
        self._flushed_at = 0.0
        self._since = 0.0
        """When the first of the pending events was appended."""
        self.lag = 0.0
        """The longest time in seconds that an event waited until it was written."""
        self._began = False
        self._tails = Tails(stored.response_id)
        self._draining = False
        self._room: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._ending: asyncio.Future[Batch] | None = None
        self.has_end = False
        """Whether the head has its final status, as far as this process knows."""
        self._standing: Batch | None = None
        self._fenced = False
        self.was_cancelled: bool | None = None
        """Whether somebody else has cancelled the response; None if nobody else has ended it."""
        self._lost: Exception | None = None
        self._cut = False

    async def open(self, head: Head) -> None:
        """Write the head.

        Raises:
            TimeoutError, MeterUnavailable: it is not known whether the head was written. If it
                was, its lease ends it.

        """
        self._stored = msgspec.structs.replace(
            self._stored, head=head, writer=self._name, lease=self._now(), status="in_progress"
        )
        async with asyncio.timeout(limits.LOG_OPEN_TIMEOUT):
            deadline = time.monotonic() + limits.LOG_OPEN_TIMEOUT
            await open_head(self._table, self._stored, deadline=deadline)
        self._begin()

    def adopt(self, head: StoredHead) -> None:
        """Take over a response that this run has claimed, in place of `open`."""
        self._stored = head
        self._name = head.writer
        self._begin()

    def _begin(self) -> None:
        self._flushed_at = time.monotonic()
        self._watch.add(self)

    @property
    def stored(self) -> StoredHead:
        """The head as it was written when the log was opened."""
        return self._stored

    def append(self, batch: Batch) -> asyncio.Future[None] | None:
        """Keep a batch. See `EventLog.append`.

        Raises:
            ValueError: its number does not follow.

        """
        first, events = batch
        size, following, begins = self._size, first + len(events), False
        for event in events:
            if type(event) is Delta:
                size += len(event.delta) + len(event.logprobs)
                begins = True
            elif type(event) is Finish and event.finish_reason in ("length", "content_filter"):
                self._cut = True
        if first == self._next and following <= self._decided and size < limits.LOG_FLUSH_BYTES:
            self._pending += events  # as nearly each token that comes alone
            self._next, self._size = following, size
            return None
        if self._fenced:
            raise LogEnded
        if self._lost is not None:
            raise self._lost
        if first != self._next:
            raise ValueError(f"event {first} does not follow event {self._next - 1}")
        if not self._pending:
            self._since = time.monotonic()
        self._pending += events
        self._next, self._size = following, size
        begins, self._began = begins and not self._began, begins or self._began
        if self._flushing is None:
            if size >= limits.LOG_FLUSH_BYTES:
                self.flush()
            elif begins:
                self._is_due = True
                self._watch.flushes.set(self, time.monotonic() + limits.LOG_FLUSH_FIRST)
            elif not self._is_due:
                self._flush_later()
        if self._has_room():
            if self._began and (
                self._under_way + limits.LOG_FLUSH_BYTES <= limits.LOG_UNACKNOWLEDGED_BYTES
            ):
                self._decided = self._acknowledged + limits.LOG_UNACKNOWLEDGED
            return None
        self.flush()
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
            self._room.add_done_callback(_retrieve)
        return self._room

    def end(self, batch: Batch) -> asyncio.Future[Batch]:
        """Close the log, or leave it as it is if the response waits. See `EventLog.end`."""
        self.on_end = None
        [event] = batch[1]
        if (
            self.may_wait is not None
            and not self._next
            and not self._fenced
            and type(event) is Failed
            and self.may_wait(event)
        ):
            self.waits = True
            self._watch.discard(self)
            done: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
            done.set_result(batch)
            return done
        ending = self._ending = asyncio.ensure_future(self._end(batch))
        ending.add_done_callback(_retrieve)
        return ending

    def read(self, after: int) -> Source:
        """Return a source of the events with numbers above `after`."""
        return read_log(self._table, self._stored.response_id, after, now=self._now)

    async def close(self) -> None:
        """Finish the writes that nobody waits for, within `limits.LOG_GIVE_UP`. Raises nothing.

        The end of the response is one of them if its producer did not wait for it any longer.
        """
        self._closed = True
        self._watch.flushes.discard(self)
        self._watch.discard(self)
        ends = time.monotonic() + limits.LOG_GIVE_UP
        while tasks := {
            task
            for task in (self._flushing, self._ending, self._closing)
            if task is not None and not task.done()
        }:
            _, left = await asyncio.wait(tasks, timeout=ends - time.monotonic())
            for task in left:
                task.cancel()

    def _has_room(self) -> bool:
        return (
            self._next - self._acknowledged <= limits.LOG_UNACKNOWLEDGED
            and self._size + self._under_way <= limits.LOG_UNACKNOWLEDGED_BYTES
        )

    def flush(self) -> None:
        """Begin to write the pending events, if nothing is under way."""
        if self._is_due:
            self._is_due = False
            self._watch.flushes.discard(self)
        if self._flushing is None and self._pending and not self._fenced and self._lost is None:
            self._flushing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Write the pending events, and those that come meanwhile and are due. Raises nothing."""
        try:
            while self._pending and not self._fenced and self._lost is None:
                events, self._pending, self._decided = self._pending, [], 0
                self._under_way, self._size = self._size, 0
                self._flushed_at, since = time.monotonic(), self._since
                segment = Segment(self._acknowledged, events, self._name, *self._counts())
                standing = await self._put(segment)
                self._under_way = 0
                if standing is not None:
                    await self._meet(standing)
                    return
                self._acknowledged = segment.next
                self.lag = max(self.lag, time.monotonic() - since)
                self._release()
                if not self._draining and self._size < limits.LOG_FLUSH_BYTES:
                    break
        except Exception as error:  # noqa: BLE001 (the boundary: whatever it is, the log is lost)
            self._lose(error)
        finally:
            self._flushing = None
        if self._pending and not (self._is_due or self._fenced or self._closed or self._lost):
            self._flush_later()

    def _flush_later(self) -> None:
        interval = limits.LOG_FLUSH_TAILED if self._tails.any else limits.LOG_FLUSH
        self._is_due = True
        self._watch.flushes.set(self, self._flushed_at + interval)

    async def _put(self, segment: Segment) -> Item | None:
        async with asyncio.timeout(limits.LOG_GIVE_UP):
            return await put_segment(
                self._table,
                self._stored.response_id,
                segment,
                expires=self._stored.expires,
                deadline=time.monotonic() + limits.LOG_GIVE_UP,
            )

    async def _meet(self, item: Item) -> None:
        """Note that somebody else's segment has the key of this producer's next one."""
        found = await segments.read(self._table, self._stored.response_id, item)
        if found.is_end:
            self._standing = (found.number, found.events)
        last = found.events[-1]
        self._fence(cancelled=type(last) is Failed and last.kind == "cancelled")

    def _release(self) -> None:
        room, self._room = self._room, None
        if room is None:
            return
        if self._fenced:
            room.set_exception(LogEnded())
        elif self._lost is not None:
            room.set_exception(self._lost)
        elif self._has_room():
            room.set_result(None)
        else:
            self._room = room

    def _fence(self, *, cancelled: bool) -> None:
        """Stop writing, because the response was ended by somebody else."""
        self._fenced, self.was_cancelled, self._decided = True, cancelled, 0
        self._release()
        if self.on_end is not None:
            self.on_end(cancelled)

    def _lose(self, error: Exception) -> None:
        """Stop logging, and begin to close the log."""
        if self._lost is None and not self._fenced:
            log("log_given_up", request_id=self._stored.response_id, error=type(error).__name__)
            self._lost, self._decided = error.with_traceback(None), 0  # its frames refer to this
            self._release()
            self._closing = asyncio.create_task(self._close_lost())

    async def _close_lost(self) -> None:
        """End the lost log by the fence, as soon as the table answers."""
        ending = Ending(status="failed", event=LOST, by=new_name(), now=self._now())
        while True:
            with contextlib.suppress(MeterUnavailable):
                await self._close_by(ending)
                return
            await asyncio.sleep(limits.META_BACKOFF_MAX)

    async def _close_by(self, ending: Ending) -> None:
        response_id = self._stored.response_id
        condition = "#status = :was AND writer = :writer"
        values = {":was": "in_progress", ":writer": self._name}
        update = end_update(response_id, ending, condition, values)
        item, won = await win(self._table, update, ending)
        self.has_end = True
        if won:
            head = await parse_head(self._table, response_id, item, now=self._now())
            if head is not None:
                await end_segment(self._table, head)

    async def _end(self, batch: Batch) -> Batch:
        """End the response, and return the terminal event that stands.

        Raises:
            LookupError: the response was deleted.
            MeterUnavailable: it is not known how it ended.

        """
        await self._drain()
        if self._lost is not None:
            return batch  # `_close_lost` ends it
        if self._standing is not None:
            self.has_end = True
            return self._standing
        response_id = self._stored.response_id
        number, [event] = batch
        ending = Ending(
            status=self._status(event),
            event=event,  # type: ignore[arg-type] # it is terminal
            by=self._name,
            now=self._now(),
            counts=self._counts(),
            last=number,
        )
        values = {":was": "in_progress", ":writer": self._name}
        condition = "#status = :was AND writer = :writer AND attribute_not_exists(deleted)"
        update = end_update(response_id, ending, condition, values)
        deadline = time.monotonic() + limits.LOG_GIVE_UP
        item, won = await win(self._table, update, ending, deadline=deadline, return_item=False)
        self._watch.discard(self)
        head: StoredHead | None = after(self._stored, ending)
        if item != {}:  # somebody else has changed it, or an answer was lost
            head = await parse_head(self._table, response_id, item, now=self._now())
        self.has_end = True
        if head is None:
            if item is not None and "deleted" in item:
                await hide_again(self._table, head_key(response_id), now=int(self._now()))
            raise LookupError("the response was deleted")
        if not won:
            return await end_segment(self._table, head)
        put = end_segment(self._table, head, number=self._acknowledged)
        self._closing = asyncio.create_task(_quietly(put))
        return batch

    async def _drain(self) -> None:
        """Write all pending events."""
        self._draining = True
        while self._lost is None and not self._fenced and (self._pending or self._flushing):
            self.flush()
            if self._flushing is not None:
                await asyncio.wait([self._flushing])
        if self._flushing is not None:
            await asyncio.wait([self._flushing])

    def _status(self, event: Event) -> Status:
        if type(event) is End:
            return "incomplete" if self._cut else "completed"
        return "cancelled" if type(event) is Failed and event.kind == "cancelled" else "failed"

    @property
    def has_lease(self) -> bool:
        """Whether the lease is renewed. See `watching.Watched`."""
        return self._lost is None

    def wanted(self) -> list[Key]:
        """Return the keys of the items to read. See `watching.Watched`."""
        return [self._tails.head, *self._tails.slots]

    def seen(self, found: Mapping[Key, Item | None]) -> bool:
        """Take what was read, and return whether the response has ended."""
        if self._tails.head not in found:
            return False
        head = found[self._tails.head] or {}
        self._tails.see(head, found, now=self._now())
        running = head.get("status") == "in_progress" and "deleted" not in head
        return not running and self._is_over(head)

    def _is_over(self, head: Item) -> bool:
        """Stop if a head is final or deleted, or {} because there is none. Return whether it is."""
        status = head.get("status", "cancelled")
        is_cancelled = status == "cancelled" or "deleted" in head
        if is_cancelled or (status in FINAL and self._lost is None):
            self._fence(cancelled=is_cancelled)
        return is_cancelled or status in FINAL

    async def renew(self) -> bool:
        """Renew the lease. Return whether the response has ended. Raises MeterUnavailable."""
        prompt_tokens, completion_tokens = self._counts()
        update = Update(
            head_key(self._stored.response_id),
            update="SET lease = :now, prompt_tokens = :prompt, completion_tokens = :completion",
            condition="#status = :was AND writer = :writer AND attribute_not_exists(deleted)",
            names={"#status": "status"},
            values={
                ":now": round(self._now(), 3),
                ":prompt": prompt_tokens,
                ":completion": completion_tokens,
                ":was": "in_progress",
                ":writer": self._name,
            },
        )
        try:
            await self._table.update(update, max_attempts=1)
        except ConditionFailed as failed:
            return self._is_over(failed.item or {})
        return False


async def _quietly(work: Awaitable[object]) -> None:
    """Await a write that others repeat if it fails."""
    with contextlib.suppress(MeterUnavailable):
        await work


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Retrieve a future's exception, in case nothing awaits the future."""
    if not future.cancelled():
        future.exception()
