"""Deletes a response: hides it by one conditional write, and then removes its items."""

import contextlib
import time
from collections.abc import Coroutine, Mapping

from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.errors import InvalidRequest
from lambda_fn.recall.stored import not_found, public_error
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.keys import head_key
from lambda_fn.stream_log.removal import hide, remove


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
    try:
        await table.update(hide(head_key(head.response_id), now=now))
    except ConditionFailed:
        raise not_found(head.response_id) from None
    except MeterUnavailable as error:
        raise public_error(error, head.response_id) from None
    return removed(table, head_key(head.response_id), now)


async def removed(table: Table, key: Mapping[str, str], now: int) -> None:
    """Remove the items of a head that was hidden. The sweeper does what fails here."""
    with contextlib.suppress(MeterUnavailable):
        await remove(table, key, now=now)
