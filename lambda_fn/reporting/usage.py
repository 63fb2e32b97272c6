"""Usage by key, model and hour: from rollups for closed hours, from the ledger for open ones.

`grouped` sums these rows by day, key or model.
"""

import asyncio
import time

from lambda_fn.aws.dynamodb import Table
from lambda_fn.metering import hours
from lambda_fn.reporting.rollup_progress import first_hour, rolled_range
from lambda_fn.reporting.usage_rows import By, UsageRow, grouped, ledger_rows, stored_rows

__all__ = ["By", "UsageRow", "grouped", "usage"]

_AT_ONCE = 4  # hours of the ledger that are read at once, each shard by shard


async def usage(table: Table, *, since: str, until: str, key: str | None = None) -> list[UsageRow]:
    """Return the usage of the hours from `since` until before `until`, sorted by hour, key, model.

    Args:
        table: The usage table.
        since: The first hour, UTC: `2026-11-21T06`.
        until: The hour after the last one.
        key: The id of the only key to read; None for all.

    Raises:
        MeterUnavailable: DynamoDB does not answer.
        ValueError: `since` or `until` is not an hour.

    """
    until = min(until, hours.hour_at(time.time() + 2 * 3600))  # the future has no usage
    if since >= until:
        hours.begins(since)
        return []
    first, last = await rolled_range(table) or (await first_hour(table, now=time.time()),) * 2
    since = min(max(since, first), until)  # the past before the first hour has no usage
    rolled = min(max(since, last), until)
    result = await stored_rows(table, since, rolled, key=key) if since < rolled else []
    slots = asyncio.Semaphore(_AT_ONCE)

    async def live(hour: str) -> list[UsageRow]:
        async with slots:
            return await ledger_rows(table, hour, key=key)

    for rows in await asyncio.gather(*(live(hour) for hour in hours.between(rolled, until))):
        result += rows
    return result
