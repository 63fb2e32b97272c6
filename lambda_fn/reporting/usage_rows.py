"""Rows of usage: summed from ledger items, written as rollup items, and read from both.

Nothing in a rollup item (`keys.ROLLUP`) depends on when it was made. So a rollup that is made again
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

By = Literal["hour", "day", "month", "owner", "key", "model"]
Item = Mapping[str, Any]
AMOUNTS = ("requests", "prompt_tokens", "completion_tokens", "cost", "recovered")
"""The fields of a row that are summed."""
COUNTED = (
    "key",
    "model",
    "state",
    "outcome",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "recovered",
    "v",
)
"""The attributes of ledger items that `Sums` reads."""
_REQUIRED = {"key", "model", "state"}
_SETTLED = {"outcome", "prompt_tokens", "completion_tokens", "cost"}
_ROLLUP = {*AMOUNTS, "outcomes"}
_TIMES = {"hour": 13, "day": 10, "month": 7}
"""The characters of an hour that tell its time."""
_SHARDS_AT_ONCE = 2  # a page of each is in memory


@dataclass(frozen=True)
class UsageRow:
    """The usage of one model by one key in one hour, or a sum of such rows.

    A field that was summed over is the empty string. Money is in nano-USD.
    """

    hour: str
    """UTC: `2026-11-21T06`; in a sum by day `2026-11-21`, and by month `2026-11`."""
    key: str
    """The key's public id, also of a deleted key."""
    model: str
    requests: int
    """Settled requests, refused ones included."""
    prompt_tokens: int
    completion_tokens: int
    cost: int
    recovered: int
    """The part of `requests` that the sweeper settled from their last checkpoint."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """`requests` by outcome, without outcomes that did not occur."""
    open: int = 0
    """Requests that are not settled yet and not in `requests`. Always 0 in closed hours."""
    owner: str = ""
    """The key's owner. Neither ledger nor rollups have it."""


class Sums:
    """Sums an hour's ledger items one by one.

    Its size grows with the numbers of keys and models, not with the number of requests.
    """

    def __init__(self, hour: str) -> None:
        """Start with nothing."""
        self._hour = hour
        self._groups: dict[tuple[str, str], tuple[dict[str, int], dict[str, int]]] = {}

    def add(self, item: Item) -> None:
        """Add an item, of which `COUNTED` is read. An item that is not a request's is skipped."""
        if not is_request(item):
            return
        check_version(item)
        group = item["key"], item["model"]
        if group not in self._groups:
            self._groups[group] = dict.fromkeys((*AMOUNTS, "open"), 0), {}
        amounts, outcomes = self._groups[group]
        if item["state"] != "SETTLED":
            amounts["open"] += 1
            return
        amounts["requests"] += 1
        for member in ("prompt_tokens", "completion_tokens", "cost"):
            amounts[member] += item[member]
        amounts["recovered"] += bool(item.get("recovered"))
        outcomes[item["outcome"]] = outcomes.get(item["outcome"], 0) + 1

    def rows(self) -> list[UsageRow]:
        """Return the sums by key and model, sorted."""
        return [
            _row(self._hour, key, model, amounts, outcomes)
            for (key, model), (amounts, outcomes) in sorted(self._groups.items())
        ]


async def each_item(
    table: Table,
    hour: str,
    take: Callable[[Item], None],
    *,
    keys: Sequence[str] | None = None,
    projection: Sequence[str] = COUNTED,
) -> None:
    """Call `take` with each ledger item of an hour, in any order.

    Only a few pages are in memory at once.

    Args:
        table: The usage table.
        hour: The hour, UTC.
        take: Called with each item.
        keys: The keys to read, at most a hundred; None for all.
        projection: The attributes to read.

    """
    if keys is not None and not keys:
        return
    named = {f":key{number}": key for number, key in enumerate(keys or ())}
    slots = asyncio.Semaphore(_SHARDS_AT_ONCE)

    async def read(partition: str) -> None:
        query = Query(
            "pk = :pk",
            {":pk": partition, **named},
            names={"#key": "key"} if named else {},
            filter=f"#key IN ({', '.join(named)})" if named else None,
            projection=projection,
        )
        async with slots:
            async for item in table.query_all(query, consistent=True):
                take(item)

    await asyncio.gather(*map(read, ledger_partitions(hour)))


async def ledger_rows(table: Table, hour: str, *, key: str | None = None) -> list[UsageRow]:
    """Return the sums of an hour's ledger as it is now, of all keys or of one."""
    sums = Sums(hour)
    await each_item(table, hour, sums.add, keys=None if key is None else (key,))
    return sums.rows()


async def stored_rows(
    table: Table, since: str, until: str, *, key: str | None = None
) -> list[UsageRow]:
    """Return the rollups of the hours from `since` until before `until`, of all keys or of one."""
    result: list[UsageRow] = []
    for day in hours.days_between(since, until):
        query = Query("pk = :pk", {":pk": rollup_partition(day)})
        if key is not None:
            query = Query(
                "pk = :pk AND begins_with(sk, :key)",
                {":pk": rollup_partition(day), ":key": rollup_prefix(key)},
            )
        rows = [
            from_item(item)
            async for item in table.query_all(query, consistent=True)
            if is_rollup(item)
        ]
        result += [row for row in rows if since <= row.hour < until]
    return sorted(result, key=lambda row: (row.hour, row.key, row.model))


def grouped(rows: Iterable[UsageRow], by: Iterable[By]) -> list[UsageRow]:
    """Return the sums of rows that agree in the fields `by`, such as `("day", "key")`.

    They are sorted by hour, owner, key and model.
    """
    fields = set(by)
    length = next((size for name, size in _TIMES.items() if name in fields), 0)
    groups: dict[tuple[str, ...], list[UsageRow]] = defaultdict(list)
    for row in rows:
        names = (getattr(row, name) if name in fields else "" for name in ("owner", "key", "model"))
        groups[row.hour[:length], *names].append(row)
    return [_sum(group, *name) for name, group in sorted(groups.items())]


def is_request(item: Item) -> bool:
    """Return whether an item has the attributes of a ledger item. Reports skip any other item."""
    return item.keys() >= _REQUIRED and (item["state"] != "SETTLED" or item.keys() >= _SETTLED)


def is_rollup(item: Item) -> bool:
    """Return whether an item has the sort key and the attributes of a rollup item."""
    return item["sk"].count("#") >= 2 and item.keys() >= _ROLLUP


def to_item(row: UsageRow) -> dict[str, Any]:
    """Return the rollup item of a closed hour's row."""
    return {
        **rollup_key(row.hour, row.key, row.model),
        **VERSIONED,
        **{name: getattr(row, name) for name in AMOUNTS},
        "outcomes": dict(sorted(row.outcomes.items())),
    }


def from_item(item: Item) -> UsageRow:
    """Return the row of a rollup item. Raises UnknownVersion."""
    check_version(item)
    amounts = {name: item[name] for name in AMOUNTS}
    return UsageRow(*rollup_names(item), **amounts, outcomes=item["outcomes"])


def _row(
    hour: str,
    key: str,
    model: str,
    amounts: Mapping[str, int],
    outcomes: Mapping[str, int],
    *,
    owner: str = "",
) -> UsageRow:
    return UsageRow(
        hour,
        key,
        model,
        requests=amounts["requests"],
        prompt_tokens=amounts["prompt_tokens"],
        completion_tokens=amounts["completion_tokens"],
        cost=amounts["cost"],
        recovered=amounts["recovered"],
        outcomes=dict(sorted(outcomes.items())),
        open=amounts["open"],
        owner=owner,
    )


def _sum(rows: list[UsageRow], hour: str, owner: str, key: str, model: str) -> UsageRow:
    outcomes: dict[str, int] = {}
    for row in rows:
        for outcome, count in row.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    amounts = {name: sum(getattr(row, name) for row in rows) for name in (*AMOUNTS, "open")}
    return _row(hour, key, model, amounts, outcomes, owner=owner)
