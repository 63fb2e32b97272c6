"""Queued responses: how their function is called, and how a run takes one over.

    start    no function was called for it, or none any more: note the call, and then make it
    claim    queued -> in_progress, by the function that was called, within `QUEUED_TIME`
    wait     in_progress -> queued, by the run that found no room for it
    enqueue  in_progress -> queued, by the request itself, whose response was not queued before

Two calls of one response, a call that comes late, and a write that is carried out late change
nothing: each call has a random name, and each run another one. A queued response whose call is lost
is ended by the first call that reads it after `QUEUED_TIME` (`heads.end_overdue`).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Table, Update
from lambda_fn.stream_log.bodies import read_body, write_body
from lambda_fn.stream_log.heads import QUEUED_TIME, StoredHead, new_name, parse_head
from lambda_fn.stream_log.keys import head_key

REQUEST = "request"
"""The name of the body with the request of a queued response."""


class Asked(msgspec.Struct, frozen=True):
    """The request of a queued response, as it came. `address` is the caller's, or empty."""

    path: str
    body: str
    headers: dict[str, str] = {}  # msgspec makes a new dict for each
    address: str = ""


_asked = msgspec.json.Decoder(Asked)


async def write_request(table: Table, response_id: str, asked: Asked, *, expires: int) -> int:
    """Write the request of a response, and return the number of its parts.

    Raises MeterUnavailable.
    """
    data = msgspec.json.encode(asked)
    return await write_body(table, response_id, REQUEST, data, expires=expires)


async def read_request(table: Table, stored: StoredHead) -> Asked | None:
    """Return the request of a response, or None if there is none. Raises as `read_body`."""
    data = await read_body(table, stored.response_id, REQUEST, stored.bodies)
    return None if data is None else _asked.decode(data)


async def start(table: Table, stored: StoredHead, *, now: float) -> StoredHead | None:
    """Note that the function of a waiting response is called. The caller has to call it then.

    Args:
        table: StreamTable.
        stored: The head as it was read; `is_waiting`.
        now: Unix seconds.

    Returns:
        The head, or None if the response does not wait any more, or somebody else starts it.

    Raises:
        MeterUnavailable: it is not known. If it was noted, the response ends after `QUEUED_TIME`.

    """
    name = new_name()
    update = Update(
        head_key(stored.response_id),
        update="SET invoked = :now, starter = :name",
        condition=(
            "#status = :queued AND attribute_not_exists(invoked) AND starter = :seen "
            "AND attribute_not_exists(deleted)"
        ),
        names={"#status": "status"},
        values={
            ":now": round(now, 3),
            ":name": name,
            ":queued": "queued",
            ":seen": stored.starter,
        },
    )
    item = await _changed(table, update, {"starter": name, "status": "queued"})
    return await parse_head(table, stored.response_id, item, now=now)


async def unstart(table: Table, stored: StoredHead) -> None:
    """Return a response to the waiting ones, because the call of its function was refused.

    `stored` is what `start` returned, or the head of a new response. Raises MeterUnavailable.
    """
    update = Update(
        head_key(stored.response_id),
        update="REMOVE invoked",
        condition="#status = :queued AND starter = :name",
        names={"#status": "status"},
        values={":queued": "queued", ":name": stored.starter},
    )
    await _changed(table, update, {})


async def claim(
    table: Table, stored: StoredHead, *, run: str, by: str, now: float
) -> StoredHead | None:
    """Take a queued response over, for the run `run` whose writer is `by`.

    Args:
        table: StreamTable.
        stored: The head as it was read.
        run: The id of the request that runs it.
        by: A new name (`new_name`).
        now: Unix seconds.

    Returns:
        Its head, in progress. None if it is not this call's turn: another one has it, it has
        ended, or the call comes too late.

    Raises:
        MeterUnavailable: it is not known. If it was claimed, its lease ends it.

    """
    update = Update(
        head_key(stored.response_id),
        update="SET #status = :running, writer = :by, lease = :now, run = :run",
        condition=(
            "#status = :queued AND starter = :seen AND invoked > :oldest "
            "AND attribute_not_exists(deleted)"
        ),
        names={"#status": "status"},
        values={
            ":running": "in_progress",
            ":by": by,
            ":now": round(now, 3),
            ":run": run,
            ":queued": "queued",
            ":seen": stored.starter,
            ":oldest": round(now - QUEUED_TIME, 3),
        },
    )
    item = await _changed(table, update, {"writer": by, "status": "in_progress"})
    return await parse_head(table, stored.response_id, item, now=now)


async def wait(table: Table, stored: StoredHead) -> bool:
    """Return a response that this run has claimed to those that wait for capacity.

    `stored` is what `claim` returned. Return False if the response has ended meanwhile.

    Raises:
        MeterUnavailable: it is not known. If it does not wait, its lease ends it.

    """
    update = Update(
        head_key(stored.response_id),
        update="SET #status = :queued REMOVE invoked, run",
        condition="#status = :running AND writer = :by",
        names={"#status": "status"},
        values={":queued": "queued", ":running": "in_progress", ":by": stored.writer},
    )
    own = {"writer": stored.writer, "status": "queued"}
    return await _changed(table, update, own) is not None


async def enqueue(
    table: Table, stored: StoredHead, *, parts: int, until: float, now: float
) -> StoredHead | None:
    """Queue a running response that has no events and was never queued.

    Args:
        table: StreamTable.
        stored: Its head, as the caller has written it.
        parts: The result of `write_request`, which was called before.
        until: Unix seconds until which it may wait.
        now: Unix seconds.

    Returns:
        Its head, which waits, or None if the response has ended meanwhile.

    Raises:
        MeterUnavailable: it is not known. If it does not wait, its lease ends it.

    """
    name = new_name()
    update = Update(
        head_key(stored.response_id),
        update="SET #status = :queued, starter = :name, #until = :until, bodies.#request = :parts",
        condition="#status = :running AND writer = :by AND attribute_not_exists(deleted)",
        names={"#status": "status", "#until": "until", "#request": REQUEST},
        values={
            ":queued": "queued",
            ":name": name,
            ":until": round(until, 3),
            ":parts": parts,
            ":running": "in_progress",
            ":by": stored.writer,
        },
    )
    item = await _changed(table, update, {"starter": name, "status": "queued"})
    return await parse_head(table, stored.response_id, item, now=now)


async def renew(
    table: Table, stored: StoredHead, counts: tuple[int, int], *, now: float
) -> Item | None:
    """Renew the lease of a response that this run has claimed.

    Return None, or the head if the response has ended; {} if there is none. Raises
    MeterUnavailable.
    """
    update = Update(
        head_key(stored.response_id),
        update="SET lease = :now, prompt_tokens = :prompt, completion_tokens = :completion",
        condition="#status = :running AND writer = :by AND attribute_not_exists(deleted)",
        names={"#status": "status"},
        values={
            ":now": round(now, 3),
            ":prompt": counts[0],
            ":completion": counts[1],
            ":running": "in_progress",
            ":by": stored.writer,
        },
    )
    try:
        await table.update(update, max_attempts=1)
    except ConditionFailed as failed:
        return failed.item or {}
    return None


async def _changed(table: Table, update: Update, own: Mapping[str, Any]) -> Item | None:
    """Make an update, and return the item. Return None if its condition did not hold.

    If it did not because an attempt whose answer was lost was carried out, the item has the
    members `own`.
    """
    try:
        return await table.update(update, return_item=True)
    except ConditionFailed as failed:
        item = failed.item
        found = own and item is not None and all(item.get(name) == own[name] for name in own)
        return item if found and "deleted" not in (item or {}) else None
