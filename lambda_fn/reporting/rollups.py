"""Rollups: usage per key, model and hour, recomputed from the ledger and overwritten.

Rollups cannot drift, and deleted ones come back the same. An hour is closed when nothing that was
opened in it can still be running, and nothing in it is OPEN. `rollup_progress` has the watermark up
to which hours have rollups. `dirty_hours` has the hours whose rollups must be made again. Each
write of a row has the condition that the row is as it was before the ledger was read. So the slower
of two processes cannot overwrite new sums with old ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.metering import hours
from lambda_fn.metering.dirty_hours import clear_mark, dirty_hours
from lambda_fn.reporting.rollup_progress import advance_watermark, begin, rolled_range
from lambda_fn.reporting.usage_rows import AMOUNTS, UsageRow, ledger_rows, stored_rows, to_item

_MAX_ATTEMPTS = 4
_COMPARED = (*AMOUNTS, "outcomes")
_UNCHANGED = " AND ".join(f"{name} = :{name}" for name in _COMPARED)


class Contended(Exception):
    """Other processes kept changing an hour's rows; they, or the next attempt, complete them."""


@dataclass(frozen=True)
class HourRollup:
    """The result of making the rollups of an hour."""

    rows: int
    changed: int
    """Rows that were written or removed; 0 if they were up to date."""
    open: int
    """Requests of the hour that are not settled, and therefore not in its rows."""


async def roll(table: Table, hour: str) -> HourRollup:
    """Make an hour's rollups from the ledger as it is now.

    Rows without requests in the ledger are removed.

    Raises:
        Contended: other processes changed the rows on each attempt.
        MeterUnavailable: DynamoDB does not answer. Some rows may have been written.

    """
    for _ in range(_MAX_ATTEMPTS):
        before = {
            (row.key, row.model): row
            for row in await stored_rows(table, hour, hours.following(hour))
        }
        rows = await ledger_rows(table, hour)
        after = {(row.key, row.model): row for row in rows if row.requests}
        changed = [
            name
            for name in before.keys() | after.keys()
            if not _same(before.get(name), after.get(name))
        ]
        try:
            for name in sorted(changed):
                await _replace(table, before.get(name), after.get(name))
        except ConditionFailed:
            continue
        return HourRollup(len(after), len(changed), sum(row.open for row in rows))
    raise Contended(hour)


async def rebuild(table: Table, since: str, until: str) -> list[tuple[str, HourRollup]]:
    """Make the rollups from `since` until before `until` again. Raises as `roll`.

    The watermark does not move.
    """
    return [(hour, await roll(table, hour)) for hour in hours.between(since, until)]


def closed(hour: str, *, now: float, longest: float) -> bool:
    """Return whether no request that was opened in an hour can still be running.

    No request runs for longer than `longest` seconds.
    """
    return hours.begins(hour) + 3600 + longest <= now


async def advance(table: Table, *, now: float, longest: float, stop: Callable[[], bool]) -> int:
    """Make the rollups of closed hours, and return their number.

    It ends at an hour in which a request is OPEN: the watermark stays before that hour.

    Args:
        table: The usage table.
        now: Unix time.
        longest: Seconds after which no request can be running.
        stop: Returns whether to stop. Called before each hour.

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
            break  # another process moved it
        hour = hours.following(hour)
        count += 1
    return count


async def roll_dirty(table: Table, *, stop: Callable[[], bool]) -> int:
    """Make the rollups of dirty hours again, and return their number. Raises as `advance`."""
    until = (await rolled_range(table) or ("", ""))[1]
    count = 0
    for hour, mark in await dirty_hours(table):
        if stop():
            break
        # A later hour waits: another process may be making its rollups from an older read.
        if hour < until:
            await roll(table, hour)
            count += await clear_mark(table, hour, mark)
    return count


def _same(before: UsageRow | None, after: UsageRow | None) -> bool:
    return before is not None and after is not None and to_item(before) == to_item(after)


async def _replace(table: Table, before: UsageRow | None, after: UsageRow | None) -> None:
    """Replace one row by another. Raises ConditionFailed if the row changed meanwhile."""
    condition, values = "attribute_not_exists(pk)", {}
    if before is not None:
        condition = _UNCHANGED
        values = {f":{name}": value for name, value in to_item(before).items() if name in _COMPARED}
    if after is None:
        assert before is not None  # noqa: S101 - one of them exists
        key = {name: to_item(before)[name] for name in ("pk", "sk")}
        await table.delete(key, condition=condition, values=values)
        return
    item = to_item(after)
    try:
        await table.put(item, condition=condition, values=values)
    except ConditionFailed as failed:
        if failed.item != item:  # else it is our own write, whose response was lost
            raise
