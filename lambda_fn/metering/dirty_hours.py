"""Marks of dirty hours: hours whose ledger changed after their rollups may have been made.

Code that changes the ledger of such an hour marks it after the change, and before the write that
removes the last trace of the change. If it is killed between the two, the change is found and the
hour is marked again.
"""

import secrets

from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table
from lambda_fn.metering.keys import DIRTY_PARTITION, DIRTY_PREFIX, VERSIONED, dirty_key


async def mark_dirty(table: Table, hour: str) -> None:
    """Mark an hour as dirty."""
    await table.put({**dirty_key(hour), **VERSIONED, "mark": secrets.token_hex(8)})


async def dirty_hours(table: Table) -> list[tuple[str, str]]:
    """Return the dirty hours, each with its mark."""
    query = Query(
        "pk = :pk AND begins_with(sk, :dirty)", {":pk": DIRTY_PARTITION, ":dirty": DIRTY_PREFIX}
    )
    items = table.query_all(query, consistent=True)
    return [(item["sk"].removeprefix(DIRTY_PREFIX), item["mark"]) async for item in items]


async def clear_mark(table: Table, hour: str, mark: str) -> bool:
    """Remove a mark unless a later one has replaced it. Return whether it was removed."""
    try:
        await table.delete(dirty_key(hour), condition="mark = :mark", values={":mark": mark})
    except ConditionFailed:
        return False
    return True
