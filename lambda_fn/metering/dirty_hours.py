"""How far rollups are made, and which of them are to be made again.

    pk USAGE   sk ROLLED         since, until: the hours that have rollups, the second not included; only moves forward
    pk USAGE   sk DIRTY#<hour>   mark: the hour's ledger was changed after it was closed

Whoever changes the ledger of an hour that may be closed marks it after the change and before whatever lets the change
be forgotten: killed between the two, the change is found and marked again.
"""

import secrets

from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.metering import hours

KEYS_INDEX = "keys"
"""The index of all accounts: `directory` KEYS, in the order of `created`."""
_ROLLED = {"pk": "USAGE", "sk": "ROLLED"}

Range = tuple[str, str]


async def rolled_range(table: Table) -> Range | None:
    """Give the first hour that has rollups, and the first after it that has none yet; None before the first time."""
    item = await table.get(_ROLLED)
    return None if item is None else (item["since"], item["until"])


async def first_hour(table: Table, *, now: float) -> str:
    """Give the hour in which the oldest key was made, this one if there is none: nothing was used before it."""
    page = await table.query(Query("directory = :keys", {":keys": "KEYS"}, index=KEYS_INDEX, limit=1))
    return hours.hour_at(page.items[0]["created"] if page.items else now)


async def begin(table: Table, *, now: float) -> Range:
    """Begin with rollups."""
    first = await first_hour(table, now=now)
    try:
        await table.put({**_ROLLED, "since": first, "until": first}, condition="attribute_not_exists(pk)")
    except ConditionFailed as failed:
        found = failed.item or {}  # it is there, which is why
        return found["since"], found["until"]
    return first, first


async def move(table: Table, old: str, new: str) -> bool:
    """Say that rollups are made up to `new`; whether they had been made up to `old`."""
    values = {":old": old, ":new": new}
    update = Update(_ROLLED, "SET #until = :new", "#until = :old", names={"#until": "until"}, values=values)
    try:
        await table.update(update)
    except ConditionFailed as failed:
        return failed.item is not None and failed.item["until"] == new  # our own write, of a try whose answer was lost
    return True


async def mark_dirty(table: Table, hour: str) -> None:
    """Have an hour rolled again."""
    await table.put({"pk": "USAGE", "sk": f"DIRTY#{hour}", "mark": secrets.token_hex(8)})


async def dirty_hours(table: Table) -> list[tuple[str, str]]:
    """Give the hours that are marked, and the mark of each."""
    query = Query("pk = :pk AND begins_with(sk, :dirty)", {":pk": "USAGE", ":dirty": "DIRTY#"})
    return [(item["sk"].removeprefix("DIRTY#"), item["mark"]) async for item in table.query_all(query, consistent=True)]


async def clean(table: Table, hour: str, mark: str) -> bool:
    """Take a mark away; whether it was still the same one."""
    try:
        await table.delete({"pk": "USAGE", "sk": f"DIRTY#{hour}"}, condition="mark = :mark", values={":mark": mark})
    except ConditionFailed:
        return False
    return True
