"""Removes the items of a response or a conversation that was deleted.

A deletion hides first: after one update of the head, nobody reads it. Then the other items are
removed, and last the content of the head. Until the head would have expired, what is left of it
says no more than that it was deleted. So nobody finds a response by its id, even where the ledger
has the request.

Between the two, the head belongs to `keys.DELETED`. So the sweeper finds the removals that broke
off (`unfinished`). If that fails, too, DynamoDB removes the items at the time in `expires`.

A writer may not know yet of the deletion, and put an item after the others were removed. It learns
of it by its next write of the head, and marks the head for another removal (`hide_again`).
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.stream_log.keys import DELETED, OWNERS_INDEX, VERSIONED

_AT_ONCE = 16
"""Items that are deleted at the same time."""
_ATTEMPTS = 3
"""How often a removal begins again because an item came too late. The sweeper goes on then."""


def hide(
    key: Mapping[str, str],
    *,
    now: int,
    condition: str = "attribute_exists(pk)",
    names: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Update:
    """Return the update of a head that hides what it is the head of, if that is not hidden.

    `condition` has to hold, too; `names` and `values` are those in it.
    """
    return Update(
        key,
        update="SET deleted = :now, #owner = :deleted",
        condition=f"{condition} AND attribute_not_exists(deleted)",
        names={"#owner": "owner", **(names or {})},
        values={":now": now, ":deleted": DELETED, **(values or {})},
    )


async def hide_again(table: Table, key: Mapping[str, str], *, now: int) -> None:
    """Mark a head that was deleted for another removal, because an item came too late.

    Raises MeterUnavailable.
    """
    update = Update(
        key,
        update="SET #owner = :deleted, created = :now, again = :name",
        condition="attribute_exists(deleted)",
        names={"#owner": "owner"},
        values={":deleted": DELETED, ":now": now, ":name": secrets.token_urlsafe(6)},
    )
    with contextlib.suppress(ConditionFailed):  # it has expired
        await table.update(update)


async def remove(table: Table, head_key: Mapping[str, str], *, now: int) -> None:
    """Remove the items of a head that was hidden. It may be repeated.

    Raises:
        MeterUnavailable: DynamoDB did not answer, and some items may be left.

    """
    for _ in range(_ATTEMPTS):
        head, expires = await _remove_parts(table, head_key, now=now)
        # The head that was marked meanwhile has an item that was not removed.
        condition, values = "attribute_not_exists(again)", {}
        if "again" in head:
            condition, values = "again = :seen", {":seen": head["again"]}
        left = {**head_key, **VERSIONED, "deleted": now, "expires": expires}
        try:
            await table.put(left, condition=condition, values=values)
        except ConditionFailed:
            continue
        return


async def _remove_parts(table: Table, head_key: Mapping[str, str], *, now: int) -> tuple[Item, int]:
    """Remove all items but the head. Return that, and when the last of all expires."""
    query = Query(
        "pk = :pk", {":pk": head_key["pk"]}, projection=("pk", "sk", "expires", "again"), limit=1000
    )
    head: Item = {}
    after, expires = None, now
    while True:
        page = await table.query(query, after=after, consistent=True)
        for item in page.items:
            expires = max(expires, item.get("expires", 0))
            if item["sk"] == head_key["sk"]:
                head = item
        keys = [{"pk": it["pk"], "sk": it["sk"]} for it in page.items]
        keys = [key for key in keys if key["sk"] != head_key["sk"]]
        for first in range(0, len(keys), _AT_ONCE):
            await asyncio.gather(*map(table.delete, keys[first : first + _AT_ONCE]))
        if page.after is None:
            return head, expires
        after = page.after


async def remove_headless(table: Table, head_key: Mapping[str, str]) -> None:
    """Remove the parts of a head that was never put, because its function was killed before.

    If there is a head, nothing is removed. It may be repeated. Raises MeterUnavailable.
    """
    query = Query("pk = :pk", {":pk": head_key["pk"]}, projection=("pk", "sk"), limit=1000)
    found = [item async for item in table.query_all(query, consistent=True)]
    if any(item["sk"] == head_key["sk"] for item in found):
        return
    for first in range(0, len(found), _AT_ONCE):
        keys = ({"pk": it["pk"], "sk": it["sk"]} for it in found[first : first + _AT_ONCE])
        await asyncio.gather(*map(table.delete, keys))


async def unfinished(table: Table) -> AsyncIterator[dict[str, str]]:
    """Yield the keys of the heads that were hidden, and whose items are not removed.

    Raises MeterUnavailable.
    """
    query = Query(
        "#owner = :deleted", {":deleted": DELETED}, {"#owner": "owner"}, index=OWNERS_INDEX
    )
    async for item in table.query_all(query):
        yield {"pk": item["pk"], "sk": item["sk"]}
