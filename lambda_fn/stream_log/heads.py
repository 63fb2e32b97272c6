"""Heads: the state of each response, and the conditional writes that change it.

    queued ──> in_progress ──> completed | incomplete | failed | cancelled

Whoever ends a response first wins its head: one conditional update has the final status and all
that the terminal event needs. The winner then puts the terminal segment where the next segment
would be (`end_segment`). Whoever finds it missing `limits.END_PATIENCE` later puts the same one.

A write may be attempted several times, and a lost attempt may have been carried out. So each writer
has a random name, by which it tells its own write from another's.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table, Update
from lambda_fn.encode import Head
from lambda_fn.errors import NO_RETRY, Cancelled, ServerError, Unavailable
from lambda_fn.event_log import Batch, failed_by
from lambda_fn.events import End, Event, Failed
from lambda_fn.stream_log import segments
from lambda_fn.stream_log.bodies import Incomplete, read_body, write_body
from lambda_fn.stream_log.keys import (
    VERSIONED,
    check_version,
    head_key,
    last_segment,
)
from lambda_fn.stream_log.segments import Segment

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
FINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})
"""The statuses that never change again."""
CANCELLED = failed_by(Cancelled("This response was cancelled.", headers=NO_RETRY))
"""The terminal event of a cancelled response."""
INTERRUPTED = failed_by(
    ServerError("The response broke off. Send the request again.", code="interrupted")
)
"""The terminal event of a response whose producer has died, or does not reach the log."""
LOST = failed_by(
    Unavailable(
        "The response could not be stored to its end. Send the request again.",
        code="log_unavailable",
    )
)
"""The terminal event of a response whose producer lived, and could not store its end."""
EXPIRED = failed_by(
    Unavailable(
        "The model had no capacity in the time that this response may wait. Send it again.",
        code="queue_timeout",
    )
)
"""The terminal event of a queued response that has waited too long."""
QUEUED_TIME = 60.0
"""Seconds after the call of its function until which a queued response has to begin."""
_MAX_INLINE = 600
"""Bytes of `encode.Head` up to which the item has it. The item then stays under 1 kB."""
_terminal = msgspec.json.Decoder(End | Failed)
_head = msgspec.json.Decoder(Head)


class StoredHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a response as it was read.

    `keys.HEAD` explains the fields. `head` has what the encoder needs.
    """

    head: Head
    owner: str
    status: Status
    created: int
    expires: int
    kept: Literal["segments", "result"] = "segments"
    metadata: dict[str, str] | None = None
    chat: bool = False
    endpoint: str
    component: str | None = None
    dialect: str
    writer: str = ""
    lease: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    bodies: dict[str, int] = {}  # msgspec makes a new dict for each
    ended: float | None = None
    ended_by: str | None = None
    event: End | Failed | None = None
    last: int | None = None
    invoked: float | None = None
    starter: str | None = None
    until: float | None = None
    run: str | None = None

    @property
    def response_id(self) -> str:
        """The id of the response."""
        return self.head.response_id

    @property
    def is_final(self) -> bool:
        """Whether the response has ended."""
        return self.status in FINAL

    @property
    def run_id(self) -> str:
        """The id by which the container knows the response."""
        return self.run or self.response_id

    @property
    def is_waiting(self) -> bool:
        """Whether the response waits for capacity, and no function was called to run it."""
        return self.status == "queued" and self.invoked is None

    def is_overdue(self, now: float) -> bool:
        """Return whether the producer counts as dead, or the response has waited too long.

        `now` is in Unix seconds.
        """
        if self.status == "in_progress":
            return now >= self.lease + limits.LEASE
        if self.status != "queued":
            return False
        if self.invoked is not None:
            return now >= self.invoked + QUEUED_TIME
        return self.until is not None and now >= self.until


def new_name() -> str:
    """Return a random name for a writer or a reader."""
    return secrets.token_urlsafe(6)


async def open_head(table: Table, stored: StoredHead, *, deadline: float | None = None) -> None:
    """Put the head of a new response, and before it the body `head` if it is long.

    `writer` tells an own attempt, whose answer was lost, from another's.

    Args:
        table: StreamTable.
        stored: The head. Its status is `in_progress` or `queued`.
        deadline: The time of `time.monotonic` until which the write is attempted.

    Raises:
        ConditionFailed: the response exists.
        MeterUnavailable: it is not known whether the head was written.

    """
    text = msgspec.json.encode(stored.head)
    bodies = dict(stored.bodies)
    if len(text) > _MAX_INLINE:
        count = await write_body(table, stored.response_id, "head", text, expires=stored.expires)
        bodies["head"] = count
    item: Item = {
        **head_key(stored.response_id),
        **VERSIONED,
        "owner": stored.owner,
        "created": stored.created,
        "status": stored.status,
        "model": stored.head.model,
        "form": stored.head.form,
        "kept": stored.kept,
        "expires": stored.expires,
        "endpoint": stored.endpoint,
        "dialect": stored.dialect,
        "writer": stored.writer,
        "lease": round(stored.lease, 3),
    }
    optional = {
        "component": stored.component,
        "metadata": stored.metadata,
        "chat": stored.chat or None,
        "bodies": bodies or None,
        "head": None if "head" in bodies else text.decode(),
        "invoked": stored.invoked,
        "starter": stored.starter,
        "until": stored.until,
    }
    item |= {name: value for name, value in optional.items() if value is not None}
    try:
        await table.put(item, condition="attribute_not_exists(pk)", deadline=deadline)
    except ConditionFailed as failed:
        if failed.item is None or failed.item.get("writer") != stored.writer:
            raise


async def read_head(table: Table, response_id: str, *, now: float) -> StoredHead | None:
    """Return the head of a response, read consistently.

    None means that the response does not exist for readers: it never did, was deleted, or is over
    its time. `now` is in Unix seconds.

    Raises:
        UnknownVersion: a later deployment wrote it.
        Incomplete: its body is malformed.
        MeterUnavailable: DynamoDB did not answer.

    """
    item = await table.get(head_key(response_id))
    return await parse_head(table, response_id, item, now=now)


async def parse_head(
    table: Table, response_id: str, item: Mapping[str, Any] | None, *, now: float
) -> StoredHead | None:
    """Return the head of an item. Raises and returns as `read_head`."""
    if item is None or "deleted" in item or now >= item["expires"]:
        return None
    check_version(item)
    bodies = item.get("bodies", {})
    text: str | bytes | None = item.get("head")
    if text is None:
        text = await read_body(table, response_id, "head", bodies)
    if text is None:
        raise Incomplete("a head is missing")
    event = item.get("event")
    return StoredHead(
        head=_head.decode(text),
        owner=item["owner"],
        status=item["status"],
        created=item["created"],
        expires=item["expires"],
        kept=item["kept"],
        metadata=item.get("metadata"),
        chat=item.get("chat", False),
        endpoint=item["endpoint"],
        component=item.get("component"),
        dialect=item["dialect"],
        writer=item["writer"],
        lease=item["lease"],
        prompt_tokens=item.get("prompt_tokens", 0),
        completion_tokens=item.get("completion_tokens", 0),
        bodies=bodies,
        ended=item.get("ended"),
        ended_by=item.get("ended_by"),
        event=None if event is None else _terminal.decode(event),
        last=item.get("last"),
        invoked=item.get("invoked"),
        starter=item.get("starter"),
        until=item.get("until"),
        run=item.get("run"),
    )


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a response, as the update that wins its head writes it.

    `by` is the name of whoever ends it. The producer also knows the raw counts and the number of
    its terminal event.
    """

    status: Status
    event: End | Failed
    by: str
    now: float
    counts: tuple[int, int] | None = None
    last: int | None = None


def end_update(
    response_id: str, ending: Ending, condition: str, values: Mapping[str, Any]
) -> Update:
    """Return the update that ends a response if it has not ended, and if `condition` holds."""
    changes: Item = {
        "status": ending.status,
        "ended": round(ending.now, 3),
        "ended_by": ending.by,
        "event": msgspec.json.encode(ending.event).decode(),
    }
    if ending.counts is not None:
        changes["prompt_tokens"], changes["completion_tokens"] = ending.counts
    if ending.last is not None:
        changes["last"] = ending.last
    return Update(
        head_key(response_id),
        update="SET " + ", ".join(f"#{name} = :new_{name}" for name in changes),
        condition=condition,
        names={f"#{name}": name for name in changes},
        values={**{f":new_{name}": value for name, value in changes.items()}, **values},
    )


def after(stored: StoredHead, ending: Ending) -> StoredHead:
    """Return a head as it is after an ending that has won it."""
    prompt_tokens, completion_tokens = ending.counts or (
        stored.prompt_tokens,
        stored.completion_tokens,
    )
    return msgspec.structs.replace(
        stored,
        status=ending.status,
        ended=round(ending.now, 3),
        ended_by=ending.by,
        event=ending.event,
        last=ending.last,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


async def win(
    table: Table,
    update: Update,
    ending: Ending,
    *,
    deadline: float | None = None,
    return_item: bool = True,
) -> tuple[Item | None, bool]:
    """Make the update that ends a response.

    Returns:
        The item as it stands, None if there is none, and whether this ending is the one in it.
        Without `return_item`, the item is empty if the update was carried out.

    """
    try:
        item = await table.update(update, return_item=return_item, deadline=deadline)
    except ConditionFailed as failed:
        return failed.item, failed.item is not None and failed.item.get("ended_by") == ending.by
    return item, True


async def cancel_head(
    table: Table, response_id: str, *, now: float, by: str | None = None
) -> StoredHead | None:
    """Cancel a response that has not ended, and return its head as it stands.

    If `ended_by` of that is `by`, this call has ended the response, and has to call `end_segment`.

    Args:
        table: StreamTable.
        response_id: The response. The caller has read its head and knows its owner.
        now: Unix seconds.
        by: A new name (`new_name`); one is made if it is None.

    Returns:
        None if the response does not exist, or was deleted.

    Raises:
        MeterUnavailable: it is not known whether the response was cancelled. Call it again.

    """
    ending = Ending(status="cancelled", event=CANCELLED, by=by or new_name(), now=now)
    update = end_update(
        response_id,
        ending,
        "(#status = :queued OR #status = :running) AND attribute_not_exists(deleted)",
        {":queued": "queued", ":running": "in_progress"},
    )
    item, _ = await win(table, update, ending)
    return await parse_head(table, response_id, item, now=now)


async def end_overdue(
    table: Table,
    stored: StoredHead,
    *,
    now: float,
    by: str | None = None,
    event: Failed | None = None,
) -> StoredHead | None:
    """End a response by a failure if it is still as it was read.

    Call it if `stored.is_overdue(now)`. Arguments, results and errors are those of `cancel_head`.
    `event` is the terminal event, `CANCELLED` or another; without it, the response was interrupted,
    or has waited too long.
    """
    if event is None:
        event = EXPIRED if stored.is_waiting else INTERRUPTED
    ending = Ending(
        status="cancelled" if event.kind == "cancelled" else "failed",
        event=event,
        by=by or new_name(),
        now=now,
    )
    condition, values = "lease = :seen", {":seen": round(stored.lease, 3)}
    if stored.is_waiting:
        condition, values = "attribute_not_exists(invoked)", {}
    elif stored.status == "queued":
        condition, values = "invoked = :seen", {":seen": stored.invoked or 0.0}
    update = end_update(
        stored.response_id,
        ending,
        f"#status = :was AND {condition}",
        {":was": stored.status, **values},
    )
    item, _ = await win(table, update, ending)
    return await parse_head(table, stored.response_id, item, now=now)


async def end_segment(
    table: Table,
    stored: StoredHead,
    *,
    number: int | None = None,
    deadline: float | None = None,
) -> Batch:
    """Put the terminal segment of a response that has ended, and return the one that stands.

    It does nothing if the segment is there. If somebody else ended the response, its producer may
    still write a segment meanwhile; then the next number is tried. A producer that has ended its
    own response tells its `number`, so that the last segment need not be read.

    Raises:
        ValueError: the response has not ended, or it has no segments.
        MeterUnavailable: it is not known whether the segment was written. Call it again.

    """
    if stored.event is None or stored.kept != "segments":
        raise ValueError(f"{stored.response_id} has no terminal segment to put")
    by_producer = stored.ended_by == stored.writer
    item: Mapping[str, Any] | None = None
    if number is None:
        page = await table.query(last_segment(stored.response_id), consistent=True)
        item = page.items[0] if page.items else None
    while True:
        if item is None:
            number, counts = number or 0, (stored.prompt_tokens, stored.completion_tokens)
        else:
            found = await segments.read(table, stored.response_id, item)
            if found.is_end:
                return found.number, found.events
            number, counts = found.next, (found.prompt_tokens, found.completion_tokens)
        event: Event = stored.event
        if by_producer:
            counts = (stored.prompt_tokens, stored.completion_tokens)
        elif type(event) is Failed:
            event = msgspec.structs.replace(event, fenced=number)
        segment = Segment(number, [event], str(stored.ended_by), *counts, is_end=True)
        standing = await put_segment(
            table, stored.response_id, segment, expires=stored.expires, deadline=deadline
        )
        if standing is None:
            return number, [event]
        item = standing


async def put_segment(
    table: Table,
    response_id: str,
    segment: Segment,
    *,
    expires: int,
    deadline: float | None = None,
) -> Item | None:
    """Put a segment where no other is.

    Returns:
        None if the segment stands, or the other item that stands in its place.

    Raises:
        MeterUnavailable: it is not known whether it was written.

    """
    *parts, item = segments.items(response_id, segment, expires=expires)
    for part in parts:
        await table.put(part, deadline=deadline)
    try:
        await table.put(item, condition="attribute_not_exists(sk)", deadline=deadline)
    except ConditionFailed as failed:
        found = failed.item
        if found is None:  # it was deleted in between
            raise MeterUnavailable("a segment stood in the way, and is gone") from None
        if found["w"] != segment.writer or bool(found.get("end")) != segment.is_end:
            return found
    return None
