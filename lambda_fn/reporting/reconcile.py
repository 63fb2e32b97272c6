"""Reconciliation: compares the accounts with the ledger, and the ledger with the rollups.

Every difference is named. Requests that are OPEN or in flight are counted apart, and an account is
compared without them.

A caller can reconcile in parts, and add up their results. `compare_hours` compares as many past
hours as there is time for. Then `compare_keys` compares some accounts at a time, and reads the few
hours in which requests may be running.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lambda_fn.aws.dynamodb import Query, Table
from lambda_fn.metering import hours
from lambda_fn.metering.accounts import Hold
from lambda_fn.metering.keys import (
    DIRECTORY,
    KEYS_INDEX,
    account_id,
    account_key,
    ledger_key,
    request_hour,
)
from lambda_fn.reporting.key_totals import (
    Amounts,
    Difference,
    KeyTotals,
    add,
    amounts_of,
    amounts_of_item,
    compare_rows,
)
from lambda_fn.reporting.rollup_progress import first_hour, rolled_range
from lambda_fn.reporting.usage_rows import (
    COUNTED,
    Item,
    Sums,
    UsageRow,
    each_item,
    is_request,
    ledger_rows,
    stored_rows,
)

__all__ = [
    "Difference",
    "HoursReport",
    "KeyTotals",
    "Report",
    "compare_hours",
    "compare_keys",
    "every_key",
    "reconcile",
]

MAX_KEYS = 100
"""The maximum number of keys of one `compare_keys`."""
_MAX_READS = 3
"""Maximum number of attempts.

Rollups that are made again between two reads look like a difference, and so does an old request
that is corrected between them.
"""
_HOURS_AT_ONCE = 2
_KEYS_OF_PART = 5_000  # a part that has this many keys ends
_CLOCK_SKEW = 2.0  # seconds that the clocks of two functions may differ

Settled = tuple[float, Amounts]
"""Unix seconds of a settlement, and its amounts."""


@dataclass(frozen=True)
class Report:
    """The result of comparing keys. `rolled` is the watermark: the first hour without rollups."""

    keys: list[KeyTotals]
    differences: list[Difference]
    rolled: str


@dataclass
class HoursReport:
    """The result of comparing hours: where ledger and rollups differ, and their sums by key."""

    since: str
    until: str
    """The hour after the last one that was read. Unless `done`, `compare_hours` continues there."""
    done: bool
    """Whether all hours of the past are read."""
    rolled: str
    keys: dict[str, KeyTotals] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)


async def reconcile(table: Table, *, now: Callable[[], float] = time.time) -> Report:
    """Compare all accounts, the whole ledger and all rollups. Requests may run meanwhile.

    Args:
        table: The usage table.
        now: Returns the Unix time.

    Raises:
        MeterUnavailable: DynamoDB does not answer.

    """
    for _ in range(_MAX_READS):
        past = await compare_hours(table, now=now)
        while not past.done:
            _append(past, await compare_hours(table, since=past.until, now=now))
        names = sorted({*past.keys, *await every_key(table)})
        keys: list[KeyTotals] = []
        differences: list[Difference] = []
        for start in range(0, len(names), MAX_KEYS):
            batch = [
                past.keys.get(name, KeyTotals(name)) for name in names[start : start + MAX_KEYS]
            ]
            report = await compare_keys(table, batch, since=past.until, now=now)
            keys += report.keys
            differences += report.differences
        if not differences and not past.differences:
            break
    of_hours = [it for it in differences if it.places[0] == "ledger"]
    return Report(
        keys,
        [*(it for it in differences if it not in of_hours), *past.differences, *of_hours],
        past.rolled,
    )


async def compare_hours(
    table: Table,
    *,
    since: str | None = None,
    now: Callable[[], float] = time.time,
    stop: Callable[[], bool] = lambda: False,
) -> HoursReport:
    """Compare ledger and rollups of past hours, those that ended at least an hour ago.

    Args:
        table: The usage table.
        since: The first hour to read; None for the hour of the oldest key.
        now: Returns the Unix time.
        stop: Returns whether to stop. Called before more hours are read, but not before the first.

    Raises:
        MeterUnavailable: DynamoDB does not answer.
        ValueError: `since` is not an hour.

    """
    end = hours.hour_at(now() - 3600)
    first, rolled = await rolled_range(table) or (await first_hour(table, now=now()),) * 2
    begin = min(max(since or first, first), end)
    report = HoursReport(begin, begin, done=False, rolled=rolled)
    while report.until < end and (
        report.until == begin or not (stop() or len(report.keys) >= _KEYS_OF_PART)
    ):
        batch = list(hours.between(report.until, end))[:_HOURS_AT_ONCE]
        next_hour = hours.following(batch[-1])
        ledger = await asyncio.gather(*(ledger_rows(table, hour) for hour in batch))
        stored = (
            await stored_rows(table, batch[0], min(next_hour, rolled)) if batch[0] < rolled else []
        )
        for hour, rows in zip(batch, ledger, strict=True):
            rollups = [row for row in stored if row.hour == hour] if hour < rolled else rows
            report.differences += compare_rows(rows, rollups)
            _count(report.keys, rows, rollups)
        report.until = next_hour
    report.done = report.until >= end
    return report


async def compare_keys(
    table: Table, past: Sequence[KeyTotals], *, since: str, now: Callable[[], float] = time.time
) -> Report:
    """Compare some accounts with the ledger.

    Args:
        table: The usage table.
        past: At most `MAX_KEYS` keys, with their totals before `since`, which may be zero.
        since: The hour from which this call reads ledger and rollups.
        now: Returns the Unix time.

    Raises:
        MeterUnavailable: DynamoDB does not answer.
        ValueError: `since` is not an hour.

    """
    _, rolled = await rolled_range(table) or ("", since)
    totals = {key_totals.key: _copy(key_totals) for key_totals in past}
    read_at: dict[str, float] = {}
    in_flight: dict[str, tuple[str, Hold]] = {}
    for key, key_totals in totals.items():
        at = now()  # before the read: the account, as read, has booked no later settlements
        account = await table.get(account_key(key))
        if account is not None:
            key_totals.set_account(account)
            read_at[key] = at
            in_flight |= {
                name: (key, Hold.parse(text)) for name, text in account["in_flight"].items()
            }
    late: dict[str, list[Settled]] = {key: [] for key in totals}
    doubtful: dict[str, list[Settled]] = {key: [] for key in totals}

    def sort_in(item: Item) -> None:
        """Add a settled request to `late` or `doubtful`.

        The account, as it was read, had not booked the former, and may not have booked the latter.
        """
        if not is_request(item) or item["state"] != "SETTLED" or item["key"] not in read_at:
            return
        key = item["key"]
        amount = item.get("settled", 0.0), amounts_of_item(item)
        if item["sk"] in in_flight:
            hold = in_flight[item["sk"]][1]
            # Any other hold is that of a late attempt, whose request was booked long ago.
            if hold.correction is not None or hold.attempt == item.get("entry"):
                late[key].append(amount)
        elif amount[0] >= read_at[key] + _CLOCK_SKEW:
            late[key].append(amount)
        elif amount[0] >= read_at[key] - _CLOCK_SKEW:
            doubtful[key].append(amount)

    for request_id, (key, _) in in_flight.items():  # those of past hours are few
        if request_hour(request_id) < since:
            item = await table.get(ledger_key(request_id))
            if item is not None and item.get("key") == key:
                sort_in(item)
    differences: list[Difference] = []
    for hour in hours.between(since, max(since, hours.following(hours.hour_at(now())))):
        sums = Sums(hour)

        def add_item(item: Item, sums: Sums = sums) -> None:
            sums.add(item)
            sort_in(item)

        await each_item(
            table,
            hour,
            add_item,
            keys=list(totals),
            projection=(*COUNTED, "sk", "settled", "entry"),
        )
        rows = sums.rows()
        rollups = rows
        if hour < rolled:
            rollups = [
                row
                for row in await stored_rows(table, hour, hours.following(hour))
                if row.key in totals
            ]
            differences += compare_rows(rows, rollups)
        _count(totals, rows, rollups)
    for key, key_totals in totals.items():
        for _, amounts in late[key]:
            add(key_totals.ledger, amounts, sign=-1)
            add(key_totals.rollups, amounts, sign=-1)
        key_totals.settle_doubt(
            amounts for _, amounts in sorted(doubtful[key], key=lambda it: it[0])
        )
        differences += key_totals.differences()
    return Report([totals[key] for key in sorted(totals)], differences, rolled)


def _append(report: HoursReport, other: HoursReport) -> None:
    for key, part in other.keys.items():
        total = report.keys.setdefault(key, KeyTotals(key))
        add(total.ledger, part.ledger)
        add(total.rollups, part.rollups)
        total.refused += part.refused
        total.open += part.open
    report.differences += other.differences
    report.until, report.done, report.rolled = other.until, other.done, other.rolled


def _count(
    totals: dict[str, KeyTotals], ledger: Iterable[UsageRow], rollups: Iterable[UsageRow]
) -> None:
    for row in ledger:
        totals.setdefault(row.key, KeyTotals(row.key)).add_ledger(row)
    for row in rollups:
        add(totals.setdefault(row.key, KeyTotals(row.key)).rollups, amounts_of(row))


def _copy(key_totals: KeyTotals) -> KeyTotals:
    return KeyTotals(
        key_totals.key,
        None,
        dict(key_totals.ledger),
        dict(key_totals.rollups),
        key_totals.refused,
        key_totals.open,
    )


async def every_key(table: Table) -> list[str]:
    """Return the sorted ids of all keys, deleted ones included."""
    query = Query("directory = :keys", {":keys": DIRECTORY}, index=KEYS_INDEX)
    return sorted([account_id(item["pk"]) async for item in table.query_all(query)])
