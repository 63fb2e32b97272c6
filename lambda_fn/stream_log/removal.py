"""Removes the items of a response that was deleted.

Only a head is left until the response would have expired. It says no more than that the response
was deleted. So nobody finds the response by its id, even where the ledger has the request. If the
removal breaks off, DynamoDB removes the rest at the time that all items have in `expires`.
"""

import asyncio

from lambda_fn.aws.dynamodb import Query, Table
from lambda_fn.stream_log.keys import VERSIONED, head_key

_AT_ONCE = 16
"""Items that are deleted at the same time."""


async def remove(table: Table, response_id: str, *, now: int) -> None:
    """Remove the items of a response, and last the content of its head. It may be repeated.

    Raises:
        MeterUnavailable: DynamoDB did not answer, and some items may be left.

    """
    own = head_key(response_id)
    query = Query("pk = :pk", {":pk": own["pk"]}, projection=("pk", "sk", "expires"), limit=1000)
    after, expires = None, now
    while True:
        page = await table.query(query, after=after, consistent=True)
        keys = [{"pk": it["pk"], "sk": it["sk"]} for it in page.items if it["sk"] != own["sk"]]
        expires = max([expires, *(it.get("expires", 0) for it in page.items)])
        for first in range(0, len(keys), _AT_ONCE):
            await asyncio.gather(*map(table.delete, keys[first : first + _AT_ONCE]))
        if page.after is None:
            break
        after = page.after
    await table.put({**own, **VERSIONED, "deleted": now, "expires": expires})
