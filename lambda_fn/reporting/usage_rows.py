"""Rows of usage, pure: summed up from ledger items, written as rollup items and read from them.

A rollup item has pk `USAGE#<day>`, sk `<key>#<HH>#<model>`, and nothing that depends on when it was made: made again it
is the same, byte for byte.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lambda_fn.aws.dynamodb import Query, Table
from lambda_fn.metering import hours
from lambda_fn.metering.keys import (
    VERSIONED,
    check_version,
    ledger_partitions,
    rollup_key,
    rollup_names,
    rollup_partition,
    rollup_prefix,
)

By = Literal["hour", "day", "key", "model"]
Item = Mapping[str, Any]
AMOUNTS = ("requests", "prompt_tokens", "completion_tokens", "cost", "recovered")
"""The fields of a row that are added up."""
COUNTED = ("key", "model", "state", "outcome", "prompt_tokens", "completion_tokens", "cost", "recovered", "v")
"""What of a ledger item sums are made from."""
_ANY = {"key", "model", "state"}
_SETTLED = {"outcome", "prompt_tokens", "completion_tokens", "cost"}
_ROLLUP = {*AMOUNTS, "outcomes"}
_SHARDS_AT_ONCE = 2  # a page of each is in memory


@dataclass(frozen=True)
class UsageRow:
    """What one key used of one model in one hour, or a sum of such.

    A field that was summed over is the empty string. Amounts of money are nano-dollars.
    """

    hour: str
    """UTC: `2026-11-21T06`; of a sum by day `2026-11-21`."""
    key: str
    """The key's public id. That of a deleted key stays."""
    model: str
    requests: int
    """Settled ones, the refused among them."""
    prompt_tokens: int
    completion_tokens: int
    cost: int
    recovered: int
    """Of `requests`, those that the sweeper settled from their last checkpoint."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """`requests` by outcome; outcomes that did not occur are not in it."""
    open: int = 0
    """Requests that are not settled yet; not in `requests`. Always 0 for closed hours."""


class Sums:
    """An hour's ledger items, added up one by one: it grows with keys and models, not with requests."""

    def __init__(self, hour: str) -> None:
        """Begin with nothing."""
        self._hour = hour
        self._groups: dict[tuple[str, str], tuple[dict[str, int], dict[str, int]]] = {}

    def add(self, item: Item) -> None:
        """Add an item; of it the attributes `COUNTED` are read. One that is no request's is left out."""
        if not is_request(item):
            return
        check_version(item)
        name = item["key"], item["model"]
        if name not in self._groups:
            self._groups[name] = dict.fromkeys((*AMOUNTS, "open"), 0), {}
        amounts, outcomes = self._groups[name]
        if item["state"] != "SETTLED":
            amounts["open"] += 1
            return
        amounts["requests"] += 1
        for member in ("prompt_tokens", "completion_tokens", "cost"):
            amounts[member] += item[member]
        amounts["recovered"] += bool(item.get("recovered"))
        outcomes[item["outcome"]] = outcomes.get(item["outcome"], 0) + 1

    def rows(self) -> list[UsageRow]:
        """Give the sums by key and model, sorted."""
        return [
            UsageRow(self._hour, key, model, **amounts, outcomes=dict(sorted(outcomes.items())))
            for (key, model), (amounts, outcomes) in sorted(self._groups.items())
        ]


async def each_item(
    table: Table,
    hour: str,
    take: Callable[[Item], None],
    *,
    keys: Sequence[str] | None = None,
    only: Sequence[str] = COUNTED,
) -> None:
    """Hand the ledger items of an hour to `take`, one by one, in no order; they are never in memory all at once.

    Args:
        table: The usage table.
        hour: Which hour, UTC.
        take: Is given each item.
        keys: The only keys that are asked for, a hundred at most; all when None.
        only: The attributes that are read.

    """
    if keys is not None and not keys:
        return
    named = {f":key{number}": key for number, key in enumerate(keys or ())}
    few = asyncio.Semaphore(_SHARDS_AT_ONCE)

    async def read(partition: str) -> None:
        query = Query(
            "pk = :pk",
            {":pk": partition, **named},
            names={"#key": "key"} if named else {},
            filter=f"#key IN ({', '.join(named)})" if named else None,
            only=only,
        )
        async with few:
            async for item in table.query_all(query, consistent=True):
                take(item)

    await asyncio.gather(*map(read, ledger_partitions(hour)))


async def ledger_rows(table: Table, hour: str, *, key: str | None = None) -> list[UsageRow]:
    """Sum up an hour's ledger as it is now, all of it or one key's."""
    sums = Sums(hour)
    await each_item(table, hour, sums.add, keys=None if key is None else (key,))
    return sums.rows()


async def stored_rows(table: Table, since: str, until: str, *, key: str | None = None) -> list[UsageRow]:
    """Give the rollups of the hours from `since` to before `until`."""
    found: list[UsageRow] = []
    for day in hours.days_between(since, until):
        query = Query("pk = :pk", {":pk": rollup_partition(day)})
        if key is not None:
            query = Query(
                "pk = :pk AND begins_with(sk, :key)", {":pk": rollup_partition(day), ":key": rollup_prefix(key)}
            )
        rows = [from_item(item) async for item in table.query_all(query, consistent=True) if is_rollup(item)]
        found += [row for row in rows if since <= row.hour < until]
    return sorted(found, key=lambda row: (row.hour, row.key, row.model))


def grouped(rows: Iterable[UsageRow], by: Iterable[By]) -> list[UsageRow]:
    """Sum rows that agree in `by`, such as `("day", "key")`; sorted by hour, key, model."""
    wanted = set(by)
    groups: dict[tuple[str, str, str], list[UsageRow]] = defaultdict(list)
    for row in rows:
        time = row.hour if "hour" in wanted else row.hour[:10] if "day" in wanted else ""
        name = (time, row.key if "key" in wanted else "", row.model if "model" in wanted else "")
        groups[name].append(row)
    return [_sum(group, *name) for name, group in sorted(groups.items())]


def is_request(item: Item) -> bool:
    """Tell whether an item has what ledger items have: one that has not stops no report."""
    return item.keys() >= _ANY and (item["state"] != "SETTLED" or item.keys() >= _SETTLED)


def is_rollup(item: Item) -> bool:
    """Tell whether an item has what rollup items have."""
    return item["sk"].count("#") >= 2 and item.keys() >= _ROLLUP


def to_item(row: UsageRow) -> dict[str, Any]:
    """Give the rollup item of a closed hour's row."""
    return {
        **rollup_key(row.hour, row.key, row.model),
        **VERSIONED,
        **{name: getattr(row, name) for name in AMOUNTS},
        "outcomes": dict(sorted(row.outcomes.items())),
    }


def from_item(item: Item) -> UsageRow:
    """Give the row of a rollup item."""
    check_version(item)
    amounts = {name: item[name] for name in AMOUNTS}
    return UsageRow(*rollup_names(item), **amounts, outcomes=item["outcomes"])


def _sum(rows: list[UsageRow], hour: str, key: str, model: str) -> UsageRow:
    outcomes: dict[str, int] = {}
    for row in rows:
        for outcome, count in row.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    amounts = {name: sum(getattr(row, name) for row in rows) for name in (*AMOUNTS, "open")}
    return UsageRow(hour, key, model, **amounts, outcomes=dict(sorted(outcomes.items())))
