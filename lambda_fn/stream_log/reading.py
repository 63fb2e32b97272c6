"""Reads the log of a response: what is stored, and what is added while the response runs.

A reader of a running response takes one of `SLOTS` slots, which also tells the producer that it is
tailed. If all are taken, a new reader takes the slot of a repeat, or else that of the oldest
reader, which then ends without a terminal event. It notices when it renews its lease. Its client
resumes.

A repeat takes a slot only if one is free. If it loses the slot, it reads on without one, because
its client does not know that it reads a log, and would not resume.

A reader also completes what others have left undone. It ends a response whose producer's lease is
over, and puts the terminal segment that a final head lacks.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table, Update
from lambda_fn.event_log import Batch, Take, Unended
from lambda_fn.events import Event
from lambda_fn.stream_log import segments
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import (
    StoredHead,
    end_overdue,
    end_segment,
    new_name,
    read_head,
)
from lambda_fn.stream_log.keys import (
    SLOTS,
    VERSIONED,
    UnknownVersion,
    check_version,
    head_key,
    head_range,
    reader_key,
    segment_number,
    segment_range,
)

Clock = Callable[[], float]
_CONTESTS = 3
"""Attempts to take a slot. Each one after the first follows another reader that was faster."""
_EVENTS = 500
"""Events of a batch. A slow client makes its reader hold one of them, and the text of the rest."""
_MAX_FAILURES = 3
"""Polls that may fail one after another. Each call was attempted several times."""


def read_log(
    table: Table,
    response_id: str,
    after: int = -1,
    *,
    is_repeat: bool = False,
    now: Clock = time.time,
) -> "LogSource":
    """Return a source of a response's events with numbers above `after`, future ones included.

    The caller has read the head: the response exists and has segments. A resumed client needs all
    events, so that its encoder can number them (`encode.resumed`).

    Args:
        table: StreamTable.
        response_id: The response.
        after: The number of the last event that is not returned; -1 for none.
        is_repeat: Whether a repeat of the response's request reads it.
        now: Returns Unix seconds.

    """
    return LogSource(table, response_id, after, is_repeat=is_repeat, now=now)


class LogSource:
    """A source (`event_log.Source`) over the segments of one response. It has one reader.

    Call `close` when the reader ends.
    """

    def __init__(
        self, table: Table, response_id: str, after: int, *, is_repeat: bool, now: Clock
    ) -> None:
        """Begin before the first segment. The segment of `after + 1` may begin before it."""
        self._table = table
        self._response_id = response_id
        self._after = after
        self._now = now
        self._next = 0
        self._slot = _Slot(table, response_id, takes=not is_repeat, now=now)
        self._look_at = 0.0
        """Time of `time.monotonic` at which the head is looked at, if nothing new comes."""
        self._ended = False
        self._failures = 0
        self._items: deque[Item] = deque()
        """Segments that were read, and are not decoded."""
        self._events: Iterator[Event] = iter(())
        self._number = 0
        """The number of the next event of `_events`, of which `_left` are left."""
        self._left = 0

    async def read(self, until: float, take: Take | None = None) -> Batch | None:
        """Return the next batch, None if none came until then. See `Source.read`.

        Raises:
            Unended: the response does not exist any more, another reader took the slot, the log
                cannot be read here, or DynamoDB does not answer.

        """
        try:
            while not self._left:
                if await self._proceed():
                    continue
                left = until - time.monotonic()
                if left <= 0:
                    return None
                await asyncio.sleep(min(limits.LOG_POLL, left))
            return self._take()
        except (UnknownVersion, Incomplete):
            raise Unended from None

    async def _proceed(self) -> bool:
        """Begin the next segment, or read a page of them. Return whether there is more to do now.

        Raises:
            Unended: as `read`.
            UnknownVersion, Incomplete: a segment cannot be read here.

        """
        if self._ended and not self._items:
            raise Unended
        try:
            if self._items:
                await self._open(self._items[0])
                self._items.popleft()
            else:
                await self._poll()
        except MeterUnavailable:
            self._failures += 1
            if self._failures > _MAX_FAILURES:
                raise Unended from None
            return False
        self._failures = 0
        return bool(self._items or self._left)

    async def _open(self, item: Item) -> None:
        """Begin to decode a segment, without the events that are not asked for."""
        number, count = segment_number(item), item["n"]
        skipped = min(max(0, self._after + 1 - number), count)
        self._events = segments.events_of(
            await segments.text_of(self._table, self._response_id, item)
        )
        self._number, self._left = number, count
        for _ in range(skipped):
            self._next_event()

    def _next_event(self) -> Event:
        event = next(self._events, None)
        if event is None:
            raise Incomplete(f"event {self._number} is missing")
        self._number += 1
        self._left -= 1
        if not self._left and next(self._events, None) is not None:
            raise Incomplete(f"a segment has more events than {self._number}")
        return event

    def _take(self) -> Batch:
        """Return the next events of a segment. A long one is not decoded at once."""
        first = self._number
        return first, [self._next_event() for _ in range(min(self._left, _EVENTS))]

    async def close(self) -> None:
        """Return the slot, if there is one. It raises nothing."""
        await self._slot.release()

    async def _poll(self) -> None:
        """Read the next page of segments. If it is empty, check the head when that is due."""
        query = segment_range(self._response_id, self._next)
        page = await self._table.query(query, consistent=True)
        before = self._next
        for item in page.items:
            check_version(item)
            if segment_number(item) != self._next:
                break  # a segment was put in a place that the query had passed
            if item["n"] < 1:
                raise Incomplete(f"a segment at event {self._next} is empty")
            self._next += item["n"]
            self._items.append(item)
            if item.get("end"):
                self._ended = True
                return
        if self._next > before:
            self._look_at = time.monotonic() + limits.LOG_HEAD_POLL
            if page.after is not None:
                return
        if not page.items and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + limits.LOG_HEAD_POLL
            await self._look()
        if not self._items:
            await self._slot.keep()

    async def _look(self) -> None:
        """End a response whose producer has died, and put a terminal segment that is missing.

        Raises:
            Unended: the response does not exist for readers.

        """
        now = self._now()
        head = await read_head(self._table, self._response_id, now=now)
        if head is None or head.kept != "segments":
            raise Unended
        if head.is_overdue(now):
            by = new_name()
            ended = await end_overdue(self._table, head, now=now, by=by)
            if ended is not None and ended.ended_by == by:
                await end_segment(self._table, ended)
            self._look_at = 0.0
            return
        if head.is_final and head.ended is not None and now >= head.ended + limits.END_PATIENCE:
            await end_segment(self._table, head)
            self._look_at = 0.0


def slot_item(key: dict[str, str], reader: str, *, now: float, seconds: float) -> Item:
    """Return the item of a slot that `reader` holds for `seconds` from `now` on."""
    ends = now + seconds
    return {
        **key,
        **VERSIONED,
        "reader": reader,
        "tail_until": round(ends, 3),
        "expires": int(ends) + 1,
    }


async def release_slot(table: Table, key: dict[str, str], reader: str) -> None:
    """Release a slot, if `reader` still holds it. If DynamoDB does not answer, its lease ends."""
    update = Update(
        key,
        update="SET tail_until = :ended",  # not every reader may delete items
        condition="reader = :own",
        values={":ended": 0, ":own": reader},
    )
    with contextlib.suppress(ConditionFailed, MeterUnavailable):
        await table.update(update)


class _Slot:
    """A reader's slot, with a lease.

    A reader that `takes` takes the slot of another if none is free, and ends if it loses its own.
    """

    def __init__(self, table: Table, response_id: str, *, takes: bool, now: Clock) -> None:
        self._takes = takes
        self._table = table
        self._response_id = response_id
        self._now = now
        self._name = new_name()
        self._since = 0.0
        self._slot: int | None = None
        self._is_told = False
        """Whether the head names this reader, so that the producer looks at the slots."""
        self._renew_at = 0.0

    async def keep(self) -> None:
        """Take a slot, or renew the lease on it if that is due. Raises Unended if it is lost."""
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + limits.LEASE_INTERVAL
        if self._slot is None:
            await self._acquire()
        else:
            try:
                await self._put(self._slot, self._name)
            except ConditionFailed:
                self._slot, self._is_told = None, False
                if self._takes:
                    raise Unended from None  # a newer reader has it
        if self._slot is not None and not self._is_told:
            await self._tell()

    async def _tell(self) -> None:
        """Name this reader in the head, which the producer reads. Raises MeterUnavailable."""
        update = Update(
            head_key(self._response_id),
            update="SET tailer = :own",
            condition="attribute_exists(sk) AND attribute_not_exists(deleted)",
            values={":own": self._name},
        )
        with contextlib.suppress(ConditionFailed):  # the response was removed
            await self._table.update(update)
        self._is_told = True

    async def _acquire(self) -> None:
        """Take a free slot, or that of a repeat, or else of the oldest reader.

        A reader without `takes` takes only a free one, and may get none.
        """
        self._since = self._since or round(self._now(), 3)
        for _ in range(_CONTESTS):
            slot, holder, is_free = await self._choose()
            if not is_free and not self._takes:
                return
            try:
                await self._put(slot, holder)
            except ConditionFailed:
                continue
            self._slot = slot
            return
        if self._takes:
            raise Unended  # newer readers were faster each time

    async def _choose(self) -> tuple[int, str | None, bool]:
        """Return the slot to take, the name of who has it or had it, and whether it is free."""
        now, first = self._now(), (True, float("inf"), 0, "")
        page = await self._table.query(head_range(self._response_id), consistent=True)
        found = {item["sk"]: item for item in page.items}
        for slot in range(SLOTS):
            item = found.get(reader_key(self._response_id, slot)["sk"])
            if item is None:
                return slot, None, True
            if item["tail_until"] <= now:
                return slot, item["reader"], True
            first = min(first, (not item.get("yields"), item["since"], slot, item["reader"]))
        return first[2], first[3], False

    async def _put(self, slot: int, holder: str | None) -> None:
        now = self._now()
        key = reader_key(self._response_id, slot)
        item = slot_item(key, self._name, now=now, seconds=limits.READER_LEASE)
        item["since"] = self._since
        if not self._takes:
            item["yields"] = True
        if holder is None:
            condition, values = "attribute_not_exists(sk) OR reader = :own", {":own": self._name}
        else:
            condition = "reader = :holder OR reader = :own"
            values = {":holder": holder, ":own": self._name}
        await self._table.put(item, condition=condition, values=values)

    async def release(self) -> None:
        if self._slot is None:
            return
        key, self._slot = reader_key(self._response_id, self._slot), None
        await release_slot(self._table, key, self._name)


async def read_all(table: Table, stored: StoredHead) -> list[segments.Segment]:
    """Return the segments of a response that are there, up to the terminal one, in their order.

    Raises:
        Incomplete: a segment is missing or malformed.
        UnknownVersion: a later deployment wrote one.
        MeterUnavailable: DynamoDB did not answer.

    """
    found: list[segments.Segment] = []
    number = 0
    query = segment_range(stored.response_id, 0)
    async for item in table.query_all(query, consistent=True):
        segment = await segments.read(table, stored.response_id, item)
        if segment.number != number:
            raise Incomplete(f"event {number} is missing")
        found.append(segment)
        number = segment.next
        if segment.is_end:
            break
    return found
