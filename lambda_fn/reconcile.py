"""Reconcile: what the accounts have booked, what the ledger says and what the rollups say must be the same.

Every difference is named. Requests that are OPEN or in flight are on their way from one to the other: they are shown
apart, and an account is compared without them. A deleted key has no account any more; its usage stays.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambda_fn import hours
from lambda_fn.accounts import Entry
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Query, Table
from lambda_fn.ids import request_time
from lambda_fn.rolled import KEYS_INDEX, first_hour, rolled_range
from lambda_fn.rollups import ledger_items, stored_rows
from lambda_fn.rows import AMOUNTS, UsageRow, summed

BOOKED = ("requests", "prompt_tokens", "completion_tokens", "cost")
"""What accounts, ledger and rollups all have; of `requests` those that were not refused."""
_LOOKS = 3  # a request may begin in the moment in which its account is read

Amounts = dict[str, int]


def _nothing() -> Amounts:
    return dict.fromkeys(BOOKED, 0)


@dataclass(frozen=True)
class Difference:
    """Two places that do not agree about one figure."""

    key: str
    field: str
    """Such as `completion_tokens`; of a rollup with its hour and model: `2026-11-21T06 demo completion_tokens`."""
    places: tuple[str, str]
    """`account` and `ledger`, or `ledger` and `rollup`."""
    values: tuple[int, int]

    def __str__(self) -> str:
        """In one line."""
        return f"{self.key} {self.field}: {self.places[0]} {self.values[0]}, {self.places[1]} {self.values[1]}"


@dataclass
class KeyTotals:
    """All that one key ever used, as each place has it, without what is in flight."""

    key: str
    account: Amounts | None = None
    """None: the key is deleted."""
    ledger: Amounts = field(default_factory=_nothing)
    rollups: Amounts = field(default_factory=_nothing)
    """Rollups, and the ledger for the hours that have none yet."""
    refused: int = 0
    open: int = 0
    """Ledger items that are not settled."""
    in_flight: int = 0
    """Requests that the account has reserved for, some of them settled perhaps."""


@dataclass(frozen=True)
class Report:
    """What was found. `rolled` is the first hour that has no rollups yet."""

    keys: list[KeyTotals]
    differences: list[Difference]
    rolled: str


async def reconcile(table: Table, *, now: Callable[[], float] = time.time) -> Report:
    """Read all accounts, the whole ledger and all rollups, and compare them. Requests may go on meanwhile.

    Args:
        table: The usage table.
        now: Gives the Unix time.

    Raises:
        MeterUnavailable: DynamoDB does not answer.

    """
    report = await _look(table, now)
    for _ in range(_LOOKS - 1):
        if not report.differences:
            break
        report = await _look(table, now)
    return report


async def _look(table: Table, now: Callable[[], float]) -> Report:
    accounts = [account async for account in _accounts(table)]
    looked = now()
    totals = {one.key: one for one in map(_booked, accounts)}
    flying = {name: Entry.read(text) for account in accounts for name, text in account["in_flight"].items()}

    def on_its_way(item: Mapping[str, Any]) -> bool:
        """Whether an account had not booked a settled request when it was looked at."""
        entry = flying.get(item["sk"])
        if entry is None:
            return request_time(item["sk"]) > looked
        return entry.correction is not None or entry.number == item.get("entry")  # else a late try, long booked

    until = hours.following(hours.hour_at(looked))
    since, rolled = await rolled_range(table) or (await first_hour(table, now=looked),) * 2
    stored = await stored_rows(table, since, rolled) if since < rolled else []
    differences: list[Difference] = []
    for hour in hours.between(since, max(rolled, until)):
        items = await ledger_items(table, hour)
        rows = summed(hour, items)
        held = [row for row in stored if row.hour == hour] if hour < rolled else rows
        differences += _compared(rows, held)
        for row in rows:
            one = totals.setdefault(row.key, KeyTotals(row.key))
            one.refused += row.outcomes.get("refused", 0)
            one.open += row.open
        for row in held:
            _add(totals.setdefault(row.key, KeyTotals(row.key)).rollups, row)
        for row in summed(hour, (item for item in items if on_its_way(item))):
            _add(totals[row.key].rollups, row, sign=-1)
        for row in summed(hour, (item for item in items if not on_its_way(item))):
            _add(totals[row.key].ledger, row)
    keys = [totals[key] for key in sorted(totals)]
    return Report(keys, [*_of_accounts(keys), *differences], rolled)


async def _accounts(table: Table) -> AsyncIterator[Item]:
    query = Query("directory = :keys", {":keys": "KEYS"}, index=KEYS_INDEX)
    async for found in table.query_all(query):
        account = await table.get({"pk": found["pk"], "sk": found["sk"]})
        if account is not None:  # else it was deleted since
            yield account


def _booked(account: Item) -> KeyTotals:
    """Give what an account has booked, without the requests that are to be booked anew."""
    one = KeyTotals(account["pk"].partition("#")[2], {name: account.get(name, 0) for name in BOOKED})
    one.in_flight = len(account["in_flight"])
    assert one.account is not None  # noqa: S101 - just made
    for entry in map(Entry.read, account["in_flight"].values()):
        if entry.correction is not None:
            for name in BOOKED:
                one.account[name] -= getattr(entry.correction.booked, name)
    return one


def _add(amounts: Amounts, row: UsageRow, sign: int = 1) -> None:
    for name in BOOKED:
        amounts[name] += sign * (getattr(row, name) - (row.outcomes.get("refused", 0) if name == "requests" else 0))


def _of_accounts(keys: Iterable[KeyTotals]) -> list[Difference]:
    return [
        Difference(one.key, name, ("account", "ledger"), (one.account[name], one.ledger[name]))
        for one in keys
        if one.account is not None
        for name in BOOKED
        if one.account[name] != one.ledger[name]
    ]


def _compared(ledger: Sequence[UsageRow], rollups: Sequence[UsageRow]) -> list[Difference]:
    """Compare an hour's rows one by one, figure by figure."""
    left, right = ({(row.key, row.model): row for row in rows if row.requests} for rows in (ledger, rollups))
    found = []
    for key, model in sorted(left.keys() | right.keys()):
        figures = [_figures(rows.get((key, model))) for rows in (left, right)]
        hour = next(rows[key, model].hour for rows in (left, right) if (key, model) in rows)
        found += [
            Difference(
                key, f"{hour} {model} {name}", ("ledger", "rollup"), (figures[0].get(name, 0), figures[1].get(name, 0))
            )
            for name in sorted(figures[0].keys() | figures[1].keys())
            if figures[0].get(name, 0) != figures[1].get(name, 0)
        ]
    return found


def _figures(row: UsageRow | None) -> Mapping[str, int]:
    if row is None:
        return {}
    return {**{name: getattr(row, name) for name in AMOUNTS}, **row.outcomes}
