"""The deployment's ceiling: what all keys together may spend in a month.

A counter that each request changes would be one item for all requests, which DynamoDB limits to
1,000 writes a second. So each sweep sums the ledger. A month may exceed its ceiling by what is
spent between two sweeps (5 minutes, `infra/limits.py`), and by the answers that are running.

Requests count in the month in which they began. So the sweeps of a new month also sum the one
before until all its hours have rollups, for its alerts. From then on that is one read a sweep.
"""

from collections.abc import Callable
from typing import NamedTuple

from lambda_fn.aws.dynamodb import Table
from lambda_fn.metering import hours, service_state
from lambda_fn.metering.budget_alerts import DEPLOYMENT, Alert, levels, note
from lambda_fn.metering.keys import VERSIONED, check_version, month_key
from lambda_fn.metering.windows import window_end
from lambda_fn.reporting.rollup_progress import first_hour, rolled_range
from lambda_fn.reporting.usage_rows import ledger_rows, stored_rows

_KEPT = 40 * 86_400


class _Closed(NamedTuple):
    """The sum of a month's hours that have rollups, as it is stored."""

    until: str
    """The first hour that is not in it."""
    cost: int


async def watch(
    table: Table, *, ceiling: int, now: float, remade: bool, stop: Callable[[], bool]
) -> int | None:
    """Sum the month, write its alerts, and set or clear the mark that refuses requests.

    Args:
        table: The usage table.
        ceiling: Nano-USD.
        now: Unix seconds.
        remade: Whether rollups of earlier hours have changed, so that the stored sum is not used.
        stop: Returns whether the time is over.

    Returns:
        What the month has cost so far, nano-USD; None if the time was over. Then nothing changes.

    Raises:
        MeterUnavailable: DynamoDB does not answer.

    """
    hour = hours.hour_at(now)
    month, end = hour[:7], hours.following(hour)
    await _end_month(table, f"{month}-01T00", ceiling=ceiling, now=now, remade=remade, stop=stop)
    stored = None if remade else await _stored(table, month)
    closed = await _closed(table, month, end, stored, now=now)
    if closed != stored:
        await _store(table, month, closed)
    spent = await _with_open(table, closed, end, stop)
    if spent is None:
        return None
    await _alert(table, month, spent, ceiling, now=now)
    exhausted = (await service_state.state(table)).get("exhausted")
    wanted = month if spent >= ceiling else None
    if exhausted != wanted:
        await service_state.exhaust(table, wanted)
    return spent


async def lift(table: Table) -> None:
    """Clear the mark of a reached ceiling, for a deployment that has no ceiling any more."""
    if "exhausted" in await service_state.state(table):
        await service_state.exhaust(table, None)


async def _end_month(
    table: Table, end: str, *, ceiling: int, now: float, remade: bool, stop: Callable[[], bool]
) -> None:
    """Write the alerts of the month that ended at `end`, until its sum is final.

    The last sweep of a month is too early for its last requests. Without a stored sum, the month
    had no ceiling.
    """
    month = hours.hour_at(hours.begins(end) - 3600)[:7]
    stored = await _stored(table, month)
    if stored is None or (stored.until == end and not remade):
        return
    closed = await _closed(table, month, end, None if remade else stored, now=now)
    spent = await _with_open(table, closed, end, stop)
    if spent is not None:
        await _alert(table, month, spent, ceiling, now=now)
    if closed != stored:  # stored after the alerts: at a final sum no sweep looks again
        await _store(table, month, closed)


async def _alert(table: Table, month: str, spent: int, ceiling: int, *, now: float) -> None:
    for level in levels(spent, ceiling):
        await note(table, Alert(month, DEPLOYMENT, "cost", level, ceiling, spent), now=now)


async def _closed(
    table: Table, month: str, end: str, stored: _Closed | None, *, now: float
) -> _Closed:
    """Sum the hours of a month before `end` that have rollups, beginning with the stored sum."""
    first, rolled = await rolled_range(table) or (await first_hour(table, now=now),) * 2
    begin = min(max(f"{month}-01T00", first), end)
    until = min(max(begin, rolled), end)
    since, cost = stored if stored is not None and stored.until <= until else (begin, 0)
    if since < until:
        cost += sum(row.cost for row in await stored_rows(table, since, until))
    return _Closed(until, cost)


async def _with_open(
    table: Table, closed: _Closed, end: str, stop: Callable[[], bool]
) -> int | None:
    """Add the ledger of the open hours before `end`. Return None if the time was over."""
    cost = closed.cost
    for hour in hours.between(closed.until, end):
        if stop():
            return None
        cost += sum(row.cost for row in await ledger_rows(table, hour))
    return cost


async def _stored(table: Table, month: str) -> _Closed | None:
    item = await table.get(month_key(month))
    if item is None:
        return None
    check_version(item)
    return _Closed(item["until"], item["cost"])


async def _store(table: Table, month: str, closed: _Closed) -> None:
    item = {**month_key(month), **VERSIONED, "until": closed.until, "cost": closed.cost}
    await table.put({**item, "ttl": window_end(f"cost#{month}") + _KEPT})
