"""The rollup watermark: one item says which hours have rollups. It only moves forward."""

from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.metering import hours
from lambda_fn.metering.keys import DIRECTORY, KEYS_INDEX, VERSIONED, WATERMARK_KEY, check_version

Range = tuple[str, str]
"""The first hour that has rollups, and the watermark: the first hour after it that has none."""


async def rolled_range(table: Table) -> Range | None:
    """Return the hours that have rollups; None before the first rollup."""
    item = await table.get(WATERMARK_KEY)
    if item is None:
        return None
    check_version(item)
    return item["since"], item["until"]


async def first_hour(table: Table, *, now: float) -> str:
    """Return the hour in which the oldest key was created. No usage is older.

    If there is no key, return the hour of `now`.
    """
    page = await table.query(
        Query("directory = :keys", {":keys": DIRECTORY}, index=KEYS_INDEX, limit=1)
    )
    return hours.hour_at(page.items[0]["created"] if page.items else now)


async def begin(table: Table, *, now: float) -> Range:
    """Put the watermark at the first hour if there is none, and return the stored range."""
    first = await first_hour(table, now=now)
    item = {**WATERMARK_KEY, **VERSIONED, "since": first, "until": first}
    try:
        await table.put(item, condition="attribute_not_exists(pk)")
    except ConditionFailed as failed:
        stored = failed.item or {}  # it exists, which is why the condition failed
        return stored["since"], stored["until"]
    return first, first


async def advance_watermark(table: Table, old: str, new: str) -> bool:
    """Move the watermark from `old` to `new`. Return False if it was not at `old`."""
    values = {":old": old, ":new": new}
    update = Update(
        WATERMARK_KEY,
        "SET #until = :new",
        "#until = :old",
        names={"#until": "until"},
        values=values,
    )
    try:
        await table.update(update)
    except ConditionFailed as failed:
        # It may be our own write, from an attempt whose response was lost.
        return failed.item is not None and failed.item["until"] == new
    return True
