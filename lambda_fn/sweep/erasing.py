"""Deletes what deleted keys have stored, and finishes deletions that broke off.

A deletion hides a head, and then removes the items of its partition. The index lists the heads for
which that is not done (`removal.unfinished`). The partition `keys.ERASE` lists the deleted keys
whose answers go, too. A deleted key's running requests go on, and store their responses when they
end. So the key stays there until none of them can be running.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table
from lambda_fn.metering.keys import account_key
from lambda_fn.stream_log.heads import FINAL, end_overdue, read_head
from lambda_fn.stream_log.keys import (
    ERASE,
    MESSAGES,
    OWNERS_INDEX,
    conversations_of,
    erasure_key,
    messages_of,
)
from lambda_fn.stream_log.removal import hide, remove, unfinished

MAX_ERASED = 2000
"""Responses, conversations and messages of sockets that one sweep erases. The next one goes on."""


async def to_erase(
    usage: Table, streams: Table, *, now: float, longest: float
) -> AsyncIterator[Item]:
    """Yield what the index has of each response and conversation that is to be erased.

    Args:
        usage: The usage table.
        streams: StreamTable.
        now: Unix seconds.
        longest: Seconds after which no request of a deleted key can be running.

    Raises:
        MeterUnavailable: DynamoDB did not answer.

    """
    async for key in unfinished(streams):
        yield key
    query = Query("pk = :pk", {":pk": ERASE})
    async for erasure in streams.query_all(query, consistent=True):
        key_id = erasure["sk"]
        account = await usage.get(account_key(key_id))
        is_left = False
        if account is None or "deleted" in account:  # otherwise it was not deleted after all
            async for item in _stored_by(streams, key_id):
                is_left = True
                yield item
        if not is_left and now >= erasure["at"] + longest:
            await streams.delete(erasure_key(key_id))


async def erase(streams: Table, item: Mapping[str, Any], *, now: float) -> bool:
    """Delete a response or a conversation, given its item in the index.

    Returns:
        False if it is a response that runs.

    Raises:
        Incomplete, UnknownVersion: it cannot be read here.
        MeterUnavailable: it stopped somewhere; call it again.

    """
    key = {"pk": item["pk"], "sk": item["sk"]}
    if key["pk"].startswith(MESSAGES):  # a message of a socket, which no function has taken
        await streams.delete(key)
        return True
    if item.get("status", "completed") not in FINAL:
        head = await read_head(streams, key["pk"].removeprefix("R#"), now=now)
        if head is not None and head.is_overdue(now):
            head = await end_overdue(streams, head, now=now)
        if head is not None and not head.is_final:
            return False
    with contextlib.suppress(ConditionFailed):  # it is hidden, or has expired
        await streams.update(hide(key, now=int(now)))
    await remove(streams, key, now=int(now))
    return True


async def _stored_by(streams: Table, key_id: str) -> AsyncIterator[Item]:
    for owner in (key_id, conversations_of(key_id), messages_of(key_id)):
        names = {"#owner": "owner"}
        query = Query("#owner = :owner", {":owner": owner}, names, index=OWNERS_INDEX)
        async for item in streams.query_all(query):
            yield item
