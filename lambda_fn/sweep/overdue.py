"""Finds overdue requests and accounts by the sparse index `overdue`, without a scan.

Ledger items have `open` and `due` while they are OPEN, accounts while requests are in flight
(`keys`).
"""

from collections.abc import AsyncIterator, Callable

from lambda_fn.aws.dynamodb import Query, Table
from lambda_fn.ids import LEDGER_SHARDS
from lambda_fn.metering.keys import OVERDUE_INDEX, watched_account, watched_request


async def requests(table: Table, *, now: float) -> AsyncIterator[dict[str, str]]:
    """Yield the primary keys of ledger items that are OPEN past `due`; the index may lag behind."""
    async for key in _overdue(table, watched_request, now):
        yield key


async def accounts(table: Table, *, now: float) -> AsyncIterator[dict[str, str]]:
    """Yield the primary keys of accounts that are past `due`."""
    async for key in _overdue(table, watched_account, now):
        yield key


async def _overdue(
    table: Table, watched: Callable[[int], str], now: float
) -> AsyncIterator[dict[str, str]]:
    for shard in range(LEDGER_SHARDS):
        query = Query(
            "#open = :open AND due <= :now",
            {":open": watched(shard), ":now": int(now)},
            names={"#open": "open"},
            index=OVERDUE_INDEX,
        )
        async for item in table.query_all(query):
            yield {"pk": item["pk"], "sk": item["sk"]}
