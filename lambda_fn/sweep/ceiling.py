"""The deployment's ceiling: what all keys together may spend in a month.

A counter that each request changes would be one item for all requests, which DynamoDB limits to
1,000 writes a second. So each sweep sums the ledger. A month may exceed its ceiling by what is
spent between two sweeps (5 minutes, `infra/limits.py`), and by the answers that are running.
"""

from collections.abc import Callable

from lambda_fn.aws.dynamodb import Table
from lambda_fn.metering import hours, service_state
from lambda_fn.metering.budget_alerts import DEPLOYMENT, Alert, levels, note
from lambda_fn.metering.keys import VERSIONED, check_version, month_key
from lambda_fn.metering.windows import window_end
from lambda_fn.reporting.rollup_progress import first_hour, rolled_range
from lambda_fn.reporting.usage_rows import ledger_rows, stored_rows

_KEPT = 40 * 86_400


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
    month = hours.hour_at(now)[:7]
    spent = await _spent(table, month, now=now, remade=remade, stop=stop)
    if spent is None:
        return None
    for level in levels(spent, ceiling):
        alert = Alert(month, DEPLOYMENT, "cost", level, ceiling, spent)
        await note(table, alert, now=now)
    stored = (await service_state.state(table)).get("exhausted")
    wanted = month if spent >= ceiling else None
    if stored != wanted:
        await service_state.exhaust(table, wanted)
    return spent


async def lift(table: Table) -> None:
    """Clear the mark of a reached ceiling, for a deployment that has no ceiling any more."""
    if "exhausted" in await service_state.state(table):
        await service_state.exhaust(table, None)


async def _spent(
    table: Table, month: str, *, now: float, remade: bool, stop: Callable[[], bool]
) -> int | None:
    end = hours.following(hours.hour_at(now))
    first, rolled = await rolled_range(table) or (await first_hour(table, now=now),) * 2
    begin = min(max(f"{month}-01T00", first), end)
    until = min(max(begin, rolled), end)
    since, cost = begin, 0
    stored = None if remade else await table.get(month_key(month))
    if stored is not None:
        check_version(stored)
        if stored["until"] <= until:
            since, cost = stored["until"], stored["cost"]
    if since < until:
        cost += sum(row.cost for row in await stored_rows(table, since, until))
    if stored is None or since < until:
        item = {**month_key(month), **VERSIONED, "until": until, "cost": cost}
        await table.put({**item, "ttl": window_end(f"cost#{month}") + _KEPT})
    for hour in hours.between(until, end):
        if stop():
            return None
        cost += sum(row.cost for row in await ledger_rows(table, hour))
    return cost
