"""The switch: the item that stops the service, and the end of what runs.

An operator stops the service, or the sweeper does for a month whose ceiling is reached.

The stream function reads the item within `limits.CHECKPOINT` and refuses requests then. Requests
that run see their cancellation in the same time.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.ids import LEDGER_SHARDS
from lambda_fn.metering import ledger
from lambda_fn.metering.keys import OVERDUE_INDEX, SERVICE_KEY, VERSIONED, watched_request

_AT_ONCE = 32
"""Updates at the same time: an emergency should not throttle the table by itself."""


async def stop(table: Table, *, reason: str, now: float) -> None:
    """Stop the service. A second call replaces the reason.

    Raises:
        MeterUnavailable: it is not known whether the service is stopped; call it again.

    """
    await table.update(
        _change("SET v = :v, stopped = :now, reason = :reason", now=int(now), reason=reason)
    )


async def resume(table: Table) -> None:
    """Serve requests again. Raises as `stop` does."""
    await table.update(_change("SET v = :v REMOVE stopped, reason"))


async def exhaust(table: Table, month: str | None) -> None:
    """Refuse the requests of a month, such as `2026-11`; with None, refuse them no longer.

    Raises as `stop` does.
    """
    if month is None:
        await table.update(_change("SET v = :v REMOVE exhausted"))
    else:
        await table.update(_change("SET v = :v, exhausted = :month", month=month))


async def state(table: Table) -> Item:
    """Return the item; an empty one if the service was never stopped."""
    return await table.get(SERVICE_KEY) or {}


def _change(update: str, **values: Any) -> Update:
    return Update(
        SERVICE_KEY,
        update,
        "attribute_exists(pk) OR attribute_not_exists(pk)",
        {},
        {":v": VERSIONED["v"], **{f":{name}": value for name, value in values.items()}},
    )


async def running(table: Table) -> AsyncIterator[str]:
    """Yield the ids of OPEN requests; the index may lag behind."""
    for shard in range(LEDGER_SHARDS):
        query = Query(
            "#open = :open",
            {":open": watched_request(shard)},
            names={"#open": "open"},
            index=OVERDUE_INDEX,
        )
        async for item in table.query_all(query):
            yield item["sk"]


async def cancel_running(table: Table, *, now: float) -> int:
    """Cancel every OPEN request, and return how many there were.

    Raises:
        MeterUnavailable: it stopped somewhere; call it again.

    """
    found = 0
    batch: list[str] = []
    async for request_id in running(table):
        batch.append(request_id)
        if len(batch) == _AT_ONCE:
            found += await _cancel(table, batch, now)
            batch = []
    return found + await _cancel(table, batch, now)


async def _cancel(table: Table, batch: list[str], now: float) -> int:
    async def one(request_id: str) -> bool:
        try:
            await table.update(ledger.cancel(request_id, key_id=None, now=now))
        except ConditionFailed:
            return False  # it has ended meanwhile
        return True

    return sum(await asyncio.gather(*(one(request_id) for request_id in batch)))
