"""Places: how many background responses a key has, and how many of all keys run.

One item lists the responses of a key that have not ended, and one those that are running. Each
change of them is one conditional write, so a bound is exact across all environments. A process that
is killed leaves its places taken. The keeper, and a request that finds an item full, free the
places whose response has ended, as its head says. A head whose producer has died is ended first, by
its lease.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.ids import request_time
from lambda_fn.stream_log.heads import (
    QUEUED_TIME,
    StoredHead,
    end_overdue,
    end_segment,
    new_name,
    read_head,
)
from lambda_fn.stream_log.keys import (
    QUEUE,
    RUNNING_KEY,
    VERSIONED,
    places_key,
    places_owner,
)

_CHECKED = 32
"""The maximum number of places that a full item is searched for ended responses, per attempt."""
_ATTEMPTS = 3


class Full(Exception):
    """All places are taken by responses that have not ended."""


class Places(NamedTuple):
    """The places of a key, or of all that run. `owner` is None for these."""

    owner: str | None
    answers: Mapping[str, str]

    @property
    def key(self) -> dict[str, str]:
        """The primary key of the item."""
        return RUNNING_KEY if self.owner is None else places_key(self.owner)


async def take(
    table: Table,
    owner: str | None,
    response_id: str,
    mark: str,
    *,
    maximum: int,
    expires: int,
    now: float,
) -> Mapping[str, str]:
    """Take a place for a response.

    Args:
        table: StreamTable.
        owner: The key id; None for a place of those that run.
        response_id: The response.
        mark: The fingerprint of its request, or the id of its run.
        maximum: The number of places.
        expires: Unix seconds after which nothing of the item matters any more.
        now: Unix seconds.

    Returns:
        All places, with this one: response id -> mark.

    Raises:
        Full: others have all places.
        MeterUnavailable: it is not known whether a place was taken. If it was, it is released
            when the response has ended.

    """
    places = Places(owner, {})
    taking = Update(
        places.key,
        update="SET answers.#id = :mark, expires = :expires",
        condition=(
            "attribute_exists(answers) "
            "AND (attribute_exists(answers.#id) OR size(answers) < :maximum)"
        ),
        names={"#id": response_id},
        values={":mark": mark, ":expires": expires, ":maximum": maximum},
    )
    for _ in range(_ATTEMPTS):
        try:
            item = await table.update(taking, return_item=True)
        except ConditionFailed as failed:
            if failed.item is not None:
                taken = Places(owner, failed.item["answers"])
                if not await release_ended(table, taken, now=now, most=_CHECKED):
                    raise Full from None
                continue
            new = {**places.key, **VERSIONED, "answers": {response_id: mark}, "expires": expires}
            try:
                await table.put(new, condition="attribute_not_exists(pk)")
            except ConditionFailed:
                continue
            return {response_id: mark}
        answers: Mapping[str, str] = item["answers"]
        return answers
    raise Full


async def release(
    table: Table, owner: str | None, response_id: str, mark: str | None = None
) -> None:
    """Free the place that a response has by `mark`, or by any mark if that is None.

    It may be repeated. Raises MeterUnavailable.
    """
    update = Update(
        Places(owner, {}).key,
        update="REMOVE answers.#id",
        condition="attribute_exists(answers.#id)" if mark is None else "answers.#id = :mark",
        names={"#id": response_id},
        values={} if mark is None else {":mark": mark},
    )
    try:
        await table.update(update)
    except ConditionFailed:
        return


async def release_ended(table: Table, places: Places, *, now: float, most: int) -> int:
    """Free the places of responses that have ended, and return how many.

    At most `most` places are looked at, the oldest first. Raises MeterUnavailable.
    """
    oldest = sorted(places.answers)[:most]  # an id begins with its time
    found = await asyncio.gather(
        *(_release_if_ended(table, places, response_id, now=now) for response_id in oldest)
    )
    return sum(found)


async def _release_if_ended(table: Table, places: Places, response_id: str, *, now: float) -> bool:
    head = await look(table, response_id, now=now)
    if not is_free(head, response_id, running=places.owner is None, now=now):
        return False
    await release(table, places.owner, response_id, places.answers[response_id])
    return True


def is_free(head: StoredHead | None, response_id: str, *, running: bool, now: float) -> bool:
    """Return whether the place of a response is free, by its head.

    A place is taken shortly before the head is put. With `running`, it is a place of those that
    run, and a response that waits for capacity has none.
    """
    if head is None:
        return now >= request_time(response_id) + QUEUED_TIME
    return head.is_final or (running and head.is_waiting)


async def look(table: Table, response_id: str, *, now: float) -> StoredHead | None:
    """Return the head of a response, which is ended first if it is overdue.

    Raises as `heads.read_head`.
    """
    head = await read_head(table, response_id, now=now)
    if head is None or not head.is_overdue(now):
        return head
    by = new_name()
    ended = await end_overdue(table, head, now=now, by=by)
    if ended is not None and ended.ended_by == by and ended.kept == "segments":
        await end_segment(table, ended)
    return ended


async def every(table: Table) -> AsyncIterator[Places]:
    """Yield the places of each key, and of all that run. Raises MeterUnavailable."""
    query = Query("pk = :pk", {":pk": QUEUE})
    async for item in table.query_all(query, consistent=True):
        if item["answers"]:
            yield Places(places_owner(item["sk"]), item["answers"])
