"""Responses that are kept whole: without their events until they end, and with their input.

A head whose `kept` is `result` has no segments while the response runs. When it ends, its events
are put as one segment, and then the head is changed. So no head is final without its events.
Readers look at the head first: its status says whether the segment counts.

The body `input` has the items of the request as they were sent, and the ids of the responses that
came before this one in its conversation. Those keep their own items.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Query, Table
from lambda_fn.encode import Head
from lambda_fn.event_log import Batch, Source
from lambda_fn.events import Delta, End, Event, Failed, Finish
from lambda_fn.log import log
from lambda_fn.stream_log import segments
from lambda_fn.stream_log.bodies import Incomplete, inflated, write_body
from lambda_fn.stream_log.heads import (
    INTERRUPTED,
    Ending,
    Status,
    StoredHead,
    end_update,
    new_name,
    open_head,
    parse_head,
    put_segment,
    win,
)
from lambda_fn.stream_log.keys import SEGMENT_PREFIX, head_key, partition
from lambda_fn.stream_log.queued import renew
from lambda_fn.stream_log.removal import hide_again
from lambda_fn.stream_log.segments import Segment

INPUT = "input"
"""The name of the body with the input."""


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """The input of a kept response: its items, and the responses before it, the first one first.

    `conversation` is the id of the conversation that it goes on with, if there is one.
    """

    items: list[msgspec.Raw] = []  # msgspec makes a new list for each
    ancestors: list[str] = []
    conversation: str | None = None


_input = msgspec.json.Decoder(Input)


class ResultLog:
    """The log of one response that this process produces, and whose events come at its end."""

    def __init__(
        self,
        table: Table,
        stored: StoredHead,
        kept_input: Input,
        counts: Callable[[], tuple[int, int]],
        *,
        seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the log.

        Args:
            table: StreamTable.
            stored: The head to open with. Writer, lease and status are set here.
            kept_input: The input of the response.
            counts: Returns the raw counts of the tokens of prompt and completion until now.
            seconds: The time limit of the response. The lease of its producer lasts as long, and
                is not renewed.
            now: Returns Unix seconds.

        """
        self._table = table
        self._stored = msgspec.structs.replace(stored, kept="result")
        self._input = kept_input
        self._counts = counts
        self._seconds = seconds
        self._now = now
        self._name = new_name()
        self._events: list[Event] = []
        self._is_ended = False
        self.has_end = False
        """Whether the head has its final status. Only a later reader ends it otherwise."""
        self._watching: asyncio.Task[None] | None = None
        self.on_end: Callable[[bool], None] | None = None
        """Called when somebody else has ended a response that was adopted, with True if it was
        cancelled.
        """
        self.may_wait: Callable[[Failed], bool] | None = None
        """Returns whether an adopted response waits for capacity in place of this end, if the model
        has sampled nothing.
        """
        self.waits = False
        """Whether it does. Nothing was written then."""

    def adopt(self, head: StoredHead) -> None:
        """Take over a response that this run has claimed, in place of `open`.

        Its lease is renewed from now on.
        """
        self._stored = head
        self._name = head.writer
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Renew the lease in time, until the response ends."""
        while True:
            await asyncio.sleep(limits.LEASE_INTERVAL)
            try:
                item = await renew(self._table, self._stored, self._counts(), now=self._now())
            except MeterUnavailable:
                continue
            if item is not None:
                if self.on_end is not None and not self._is_ended:
                    self.on_end(item.get("status", "cancelled") == "cancelled")
                return

    def release(self) -> None:
        """Write nothing more but the end."""
        self._is_ended = True
        if self._watching is not None:
            self._watching.cancel()

    async def open(self, head: Head) -> None:
        """Write the input, and then the head. Raises as `TableLog.open`."""
        async with asyncio.timeout(limits.LOG_OPEN_TIMEOUT):
            bodies = await write_input(
                self._table, head.response_id, self._input, expires=self._stored.expires
            )
            self._stored = msgspec.structs.replace(
                self._stored,
                head=head,
                writer=self._name,
                lease=self._now() + self._seconds,
                status="in_progress",
                bodies=bodies,
            )
            deadline = time.monotonic() + limits.LOG_OPEN_TIMEOUT
            await open_head(self._table, self._stored, deadline=deadline)

    def append(self, batch: Batch) -> None:
        """Keep a batch until the end. Raises ValueError if its number does not follow."""
        first, events = batch
        if first != len(self._events):
            raise ValueError(f"event {first} does not follow event {len(self._events) - 1}")
        self._events += events

    def end(self, batch: Batch) -> asyncio.Future[Batch]:
        """Write the events, and end the response. See `EventLog.end`.

        If that fails, the client gets the response all the same, and the lease ends the head.
        """
        self.release()
        [event] = batch[1]
        if (
            self.may_wait is not None
            and type(event) is Failed
            and not any(type(earlier) is Delta for earlier in self._events)
            and self.may_wait(event)
        ):
            self.waits = True
            done: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
            done.set_result(batch)
            return done
        return asyncio.ensure_future(self._end(batch))

    async def close(self) -> None:
        """End a response that its producer has not ended, because it never began."""
        if not self._is_ended:
            self.release()
            await self._end((len(self._events), [INTERRUPTED]))

    def read(self, after: int) -> Source:
        """Raise LookupError: there is nothing to read before the end."""
        raise LookupError("the events of this response are kept when it has ended")

    async def _end(self, batch: Batch) -> Batch:
        try:
            async with asyncio.timeout(limits.LOG_END_TIMEOUT - 0.5):
                return await self._close(batch)
        except (MeterUnavailable, TimeoutError) as error:
            log("result_lost", request_id=self._stored.response_id, error=type(error).__name__)
            return batch

    async def _close(self, batch: Batch) -> Batch:
        number, [event] = batch
        counts, response_id = self._counts(), self._stored.response_id
        segment = Segment(0, [*self._events, event], self._name, *counts, is_end=True)
        await put_segment(self._table, response_id, segment, expires=self._stored.expires)
        ending = Ending(
            status=_status(self._events, event),
            event=event,  # type: ignore[arg-type] # it is terminal
            by=self._name,
            now=self._now(),
            counts=counts,
            last=number,
        )
        update = end_update(
            response_id,
            ending,
            "#status = :was AND writer = :writer AND attribute_not_exists(deleted)",
            {":was": "in_progress", ":writer": self._name},
        )
        item, won = await win(self._table, update, ending)
        self.has_end = True  # or it was deleted
        if won:
            return batch
        if item is not None and "deleted" in item:
            await hide_again(self._table, head_key(response_id), now=int(self._now()))
        head = await parse_head(self._table, response_id, item, now=self._now())
        if head is None or head.event is None:  # it was deleted
            return batch
        return (number, [head.event])


def _status(events: Iterable[Event], terminal: Event) -> Status:
    if type(terminal) is not End:
        cancelled = type(terminal) is Failed and terminal.kind == "cancelled"
        return "cancelled" if cancelled else "failed"
    cut = any(
        type(event) is Finish and event.finish_reason in ("length", "content_filter")
        for event in events
    )
    return "incomplete" if cut else "completed"


async def write_input(
    table: Table, response_id: str, kept: Input, *, expires: int
) -> dict[str, int]:
    """Write the input of a response, and return the entry of its head's `bodies`.

    Raises MeterUnavailable.
    """
    data = msgspec.json.encode(kept)
    return {INPUT: await write_body(table, response_id, INPUT, data, expires=expires)}


class Kept(msgspec.Struct, frozen=True):
    """A kept response: its head, its input, and the events that are written."""

    head: StoredHead
    input: Input
    events: list[Event]

    @property
    def whole(self) -> list[Event]:
        """The events and the terminal one, which the head has before its segment stands."""
        events = [event for event in self.events if type(event) not in (End, Failed)]
        return events if self.head.event is None else [*events, self.head.event]

    @property
    def can_be_continued(self) -> bool:
        """Whether it is a response of the Responses API that was kept with its input.

        A log alone has no input, and that of a stored chat completion is messages.
        """
        is_response = self.head.head.form in ("responses_stream", "responses_body")
        return is_response and INPUT in self.head.bodies


async def read_kept(table: Table, response_id: str, *, now: float) -> Kept | None:
    """Return a response with its input and events, by one query.

    None means that it does not exist for readers. Raises as `heads.read_head`.
    """
    query = Query("pk = :pk", {":pk": partition(response_id)})
    found = [item async for item in table.query_all(query, consistent=True)]
    by_sort: dict[str, Any] = {item["sk"]: item for item in found}
    head = await parse_head(table, response_id, by_sort.get("HEAD"), now=now)
    if head is None:
        return None
    parts = [item["body"] for sort, item in by_sort.items() if sort.startswith(f"B#{INPUT}#")]
    if len(parts) != head.bodies.get(INPUT, 0):
        raise Incomplete("a part of an input is missing")
    kept = _input.decode(inflated(b"".join(parts))) if parts else Input()
    events: list[Event] = []
    for sort, item in by_sort.items():  # in the order of the numbers
        if sort.startswith(SEGMENT_PREFIX):
            events += (await segments.read(table, response_id, item)).events
    return Kept(head, kept, events)


async def read_many(table: Table, response_ids: Sequence[str], *, now: float) -> list[Kept | None]:
    """Return several responses, in order, read at the same time. Raises as `read_kept`."""
    return await asyncio.gather(*(read_kept(table, name, now=now) for name in response_ids))
