"""Deletes a response: hidden by one conditional write, then removed item by item.

What is left is a head that says no more than that the response was deleted, until it would have
expired. So its id stays unknown to everybody, also where the ledger has the request. If the removal
breaks off, DynamoDB removes the rest at the time that all items have in `expires`.
"""

import asyncio
import time
from collections.abc import Coroutine

from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Query, Table, Update
from lambda_fn.errors import InvalidRequest
from lambda_fn.recall.stored import not_found, public_error
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.keys import VERSIONED, head_key

_AT_ONCE = 16
"""Items that are deleted at the same time."""


async def delete(table: Table, head: StoredHead) -> Coroutine[None, None, None]:
    """Hide a response that has ended, and return the work that removes its items.

    Raises:
        InvalidRequest: the response runs.
        NotFound: somebody else has deleted it.
        Unavailable: DynamoDB does not answer.

    """
    if not head.is_final:
        raise InvalidRequest(
            "This response is still running, and can be deleted once it has ended. Cancel it "
            "first.",
            param="id",
            code="response_in_progress",
        )
    now = int(time.time())
    update = Update(
        head_key(head.response_id),
        update="SET deleted = :now",
        condition="attribute_exists(pk) AND attribute_not_exists(deleted)",
        values={":now": now},
    )
    try:
        await table.update(update)
    except ConditionFailed:
        raise not_found(head.response_id) from None
    except MeterUnavailable as error:
        raise public_error(error, head.response_id) from None
    return _remove(table, head, now)


async def _remove(table: Table, head: StoredHead, now: int) -> None:
    """Remove the items of a response, and at last what its head says."""
    own = head_key(head.response_id)
    query = Query("pk = :pk", {":pk": own["pk"]}, projection=("pk", "sk"))
    try:
        while True:
            page = await table.query(query, consistent=True)
            keys = [item for item in page.items if item["sk"] != own["sk"]]
            for first in range(0, len(keys), _AT_ONCE):
                await asyncio.gather(*map(table.delete, keys[first : first + _AT_ONCE]))
            if page.after is None:
                break
        await table.put({**own, **VERSIONED, "deleted": now, "expires": head.expires})
    except MeterUnavailable:
        return
