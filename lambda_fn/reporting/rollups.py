"""Rollups: usage per key, model and hour, recomputed from the ledger and overwritten. They cannot drift, and whoever
deletes them gets the same ones back.

An hour is closed when nothing that was opened in it can still be running, and nothing in it is OPEN. How far they are
made, and which are to be made again, is in `rolled`. A row is written on condition that it is as it was before the
ledger was read, so that of two who roll one hour the slower cannot put old sums over new ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.metering import hours
from lambda_fn.metering.dirty_hours import clear_mark, dirty_hours
from lambda_fn.reporting.rollup_progress import advance_watermark, begin, rolled_range
from lambda_fn.reporting.usage_rows import AMOUNTS, UsageRow, ledger_rows, stored_rows, to_item

_TRIES = 4
_COMPARED = (*AMOUNTS, "outcomes")
_UNCHANGED = " AND ".join(f"{name} = :{name}" for name in _COMPARED)


class Contended(Exception):
    """Others kept changing an hour's rows; they, or the next try, complete it."""


@dataclass(frozen=True)
class Rolled:
    """What rolling an hour did."""

    rows: int
    changed: int
    """Rows that were written or removed; none when it had been done before."""
    open: int
    """Requests of the hour that are not settled, and so not in its rows."""


async def roll(table: Table, hour: str) -> Rolled:
    """Make an hour's rollups as the ledger is now; rows that it does not bear out are removed.

    Raises:
        Contended: others changed them meanwhile, again and again.
        MeterUnavailable: DynamoDB does not answer; some may have been written.

    """
    for _ in range(_TRIES):
        before = {(row.key, row.model): row for row in await stored_rows(table, hour, hours.following(hour))}
        rows = await ledger_rows(table, hour)
        after = {(row.key, row.model): row for row in rows if row.requests}
        changed = [name for name in before.keys() | after.keys() if not _same(before.get(name), after.get(name))]
        try:
            for name in sorted(changed):
                await _replace(table, before.get(name), after.get(name))
        except ConditionFailed:
            continue
        return Rolled(len(after), len(changed), sum(row.open for row in rows))
    raise Contended(hour)


async def rebuild(table: Table, since: str, until: str) -> list[tuple[str, Rolled]]:
    """Make the rollups from `since` to before `until` again; what `rolled` says stays. Raises as `roll`."""
    return [(hour, await roll(table, hour)) for hour in hours.between(since, until)]


def closed(hour: str, *, now: float, longest: float) -> bool:
    """Say whether nothing that was opened in an hour can be running."""
    return hours.begins(hour) + 3600 + longest <= now


async def advance(table: Table, *, now: float, longest: float, stop: Callable[[], bool]) -> int:
    """Roll closed hours one after another until `stop`, or one in which something is OPEN; give how many.

    Args:
        table: The usage table.
        now: Unix time.
        longest: Seconds after which no request can be running.
        stop: Asked before each hour.

    Raises:
        Contended: as `roll`.
        MeterUnavailable: DynamoDB does not answer.

    """
    _, hour = await rolled_range(table) or await begin(table, now=now)
    count = 0
    while not stop() and closed(hour, now=now, longest=longest):
        if (await roll(table, hour)).open:
            break
        if not await advance_watermark(table, hour, hours.following(hour)):
            break  # somebody else is at it
        hour = hours.following(hour)
        count += 1
    return count


async def roll_dirty(table: Table, *, stop: Callable[[], bool]) -> int:
    """Roll again what was changed after it was rolled; give how many hours. Raises as `advance`."""
    until = (await rolled_range(table) or ("", ""))[1]
    count = 0
    for hour, mark in await dirty_hours(table):
        if stop():
            break
        if hour < until:  # else it may be being rolled just now from what was read before the change: next time
            await roll(table, hour)
            count += await clear_mark(table, hour, mark)
    return count


def _same(before: UsageRow | None, after: UsageRow | None) -> bool:
    return before is not None and after is not None and to_item(before) == to_item(after)


async def _replace(table: Table, before: UsageRow | None, after: UsageRow | None) -> None:
    """Put one row in the place of another. Raises ConditionFailed when that is not there any more."""
    condition, values = "attribute_not_exists(pk)", {}
    if before is not None:
        condition = _UNCHANGED
        values = {f":{name}": value for name, value in to_item(before).items() if name in _COMPARED}
    if after is None:
        assert before is not None  # noqa: S101 - one of them is there
        key = {name: to_item(before)[name] for name in ("pk", "sk")}
        await table.delete(key, condition=condition, values=values)
        return
    item = to_item(after)
    try:
        await table.put(item, condition=condition, values=values)
    except ConditionFailed as failed:
        if failed.item != item:  # else it is our own write, of a try whose answer was lost
            raise
