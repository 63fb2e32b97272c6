"""One sweep: what is overdue, rollups, budgets, then erasures, until its time is over."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.aws.sns import NotPublished, Topic
from lambda_fn.ids import request_time
from lambda_fn.log import log
from lambda_fn.metering import budget_alerts, holds, ledger, settlements
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.dirty_hours import mark_dirty
from lambda_fn.metering.keys import account_id, account_key, request_hour
from lambda_fn.reporting.rollup_progress import rolled_range
from lambda_fn.reporting.rollups import Contended, advance, roll_dirty
from lambda_fn.sweep import alerts, ceiling, erasing, overdue
from lambda_fn.sweep.logs import end_log

if TYPE_CHECKING:
    from lambda_fn.sweep.key_figures import Figures

_AT_ONCE = 16
_MAX_UNANSWERED = 10
"""Unanswered calls after which a sweep ends, because DynamoDB seems to be down."""
_MALFORMED = (KeyError, ValueError, TypeError)
"""The errors of reading a malformed item. They do not stop the sweep of other items."""
RECOVERED = ("settled", "found", "refused")
"""The results of `settlements.recover` for requests that their function had not settled."""


class NotSent(Exception):
    """The figures of keys were not sent, as far as is known. The next sweep sends them."""


class Tables(NamedTuple):
    """The usage table, and StreamTable if responses are logged."""

    usage: Table
    streams: Table | None


class Budgets(NamedTuple):
    """The deployment's ceiling in nano-USD, and where alerts about budgets go."""

    deployment: str = ""
    ceiling: int | None = None
    topic: Topic | None = None


@dataclass
class Sweep:
    """The result of a sweep."""

    done: Counter[str] = field(default_factory=Counter)
    """The requests that were brought to their end, counted by result of `settlements.recover`.

    `ended` counts those that were settled, and whose logs may have lacked their end.
    """
    accounts: int = 0
    failures: int = 0
    """Pieces of work that failed and are left for the next sweep; the log says why."""
    unanswered: int = 0
    """The failures in which DynamoDB did not answer."""
    hours: int = 0
    """Hours whose rollups were made for the first time."""
    remade: int = 0
    """Dirty hours whose rollups were made again."""
    erased: int = 0
    """Responses and conversations of deleted keys, or whose deletion had broken off."""
    alerts: int = 0
    """Alerts about budgets that were sent."""
    finished: bool = True
    """Whether all work was done; false if the time was over or DynamoDB was down."""

    @property
    def recovered(self) -> int:
        """Requests that the sweeper settled."""
        return sum(self.done[step] for step in RECOVERED)

    @property
    def overdue(self) -> int:
        """All requests that their functions had not brought to their end."""
        return sum(self.done.values())


async def sweep(
    table: Table,
    *,
    now: float,
    longest: float,
    stop: Callable[[], bool],
    streams: Table | None = None,
    budgets: Budgets | None = None,
    figures: "Figures | None" = None,
) -> Sweep:
    """Sweep once.

    Args:
        table: The usage table.
        streams: StreamTable; None if no responses are logged.
        budgets: The ceiling, and where alerts go; None leaves alerts for another sweep.
        figures: Where the figures of keys go; None if they are not sent.
        now: Unix time.
        longest: Seconds after which no request can be running.
        stop: Returns whether the time is over; called before each piece of work.

    """
    result = Sweep()
    tables = Tables(table, streams)

    def enough() -> bool:
        if stop() or result.unanswered >= _MAX_UNANSWERED:
            result.finished = False
        return not result.finished

    async def request(key: dict[str, str]) -> None:
        item = await table.get(key)
        if item is None or "open" not in item:
            return  # the index is behind
        if item["state"] == "SETTLED":
            if streams is not None:
                await end_log(streams, key["sk"], now=now, settled=item["outcome"])
            with contextlib.suppress(ConditionFailed):  # the item is gone
                await table.update(ledger.unwatch(key["sk"]))
            result.done["ended"] += 1
        else:
            # The item may have been written after the rollups of its hour were made. If it is
            # settled without being booked, nothing else shows the change. So the hour is marked
            # before and after: a sweep that is killed in between has left a mark.
            await _mark_if_rolled(table, key["sk"])
            await _recover(tables, item["key"], key["sk"], result, now=now)
            await _mark_if_rolled(table, key["sk"])

    async def account(key: dict[str, str]) -> None:
        await _account(tables, key, result, now=now, longest=longest, enough=enough)

    await _each(overdue.requests(table, now=now), request, result, enough)
    await _each(overdue.accounts(table, now=now), account, result, enough)
    try:
        result.remade = await roll_dirty(table, stop=enough)
        result.hours = await advance(table, now=now, longest=longest, stop=enough)
    except (Contended, MeterUnavailable, *_MALFORMED) as error:
        _failed(result, error)
    if budgets is not None:
        try:
            await _budgets(table, budgets, result, now=now, enough=enough)
        except (MeterUnavailable, NotPublished, *_MALFORMED) as error:
            _failed(result, error)
    if figures is not None and not enough():
        try:
            await figures.send(table, now=now, stop=enough)
        except (MeterUnavailable, NotSent, *_MALFORMED) as error:
            _failed(result, error)
    if streams is not None:
        await _erase(tables, streams, result, now=now, longest=longest, enough=enough)
    return result


async def _budgets(
    table: Table, budgets: Budgets, result: Sweep, *, now: float, enough: Callable[[], bool]
) -> None:
    """Compare the month with the ceiling, and send the alerts that wait."""
    if enough():
        return
    if budgets.ceiling is None:
        await ceiling.lift(table)
    else:
        await ceiling.watch(
            table,
            ceiling=budgets.ceiling,
            now=now,
            remade=result.remade > 0,
            stop=enough,
        )
    result.alerts = await alerts.send(
        table, budgets.topic, deployment=budgets.deployment, now=now, stop=enough
    )


async def _erase(
    tables: Tables,
    streams: Table,
    result: Sweep,
    *,
    now: float,
    longest: float,
    enough: Callable[[], bool],
) -> None:
    """Erase what deleted keys and broken deletions left, at most `erasing.MAX_ERASED` pieces."""

    async def one(item: dict[str, str]) -> None:
        done = await erasing.erase(streams, item, now=now)
        result.erased += done  # not in one statement: others are counted meanwhile

    found = erasing.to_erase(tables.usage, streams, now=now, longest=longest)
    await _each(found, one, result, lambda: result.erased >= erasing.MAX_ERASED or enough())


async def _each(
    keys: AsyncIterator[dict[str, str]],
    work: Callable[[dict[str, str]], Awaitable[None]],
    result: Sweep,
    enough: Callable[[], bool],
) -> None:
    """Work on each key, a few at once, until there are no more or `enough` returns true."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def work_on(key: dict[str, str]) -> None:
        try:
            if not enough():
                await work(key)
        except (MeterUnavailable, *_MALFORMED) as error:
            _failed(result, error, pk=key["pk"], sk=key["sk"])
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            async for key in keys:
                await slots.acquire()
                if enough():
                    slots.release()
                    break
                tasks.create_task(work_on(key))
    except* MeterUnavailable as group:
        _failed(result, group.exceptions[0])


async def _account(
    tables: Tables,
    key: dict[str, str],
    result: Sweep,
    *,
    now: float,
    longest: float,
    enough: Callable[[], bool],
) -> None:
    """Recover the overdue requests of an account, and move its `due` to the next one."""
    table = tables.usage
    item = await table.get(key)
    if item is None:
        return
    key_id = account_id(key["pk"])
    ends = {request_id: request_time(request_id) + longest for request_id in item["in_flight"]}
    for request_id in sorted(name for name, end in ends.items() if end <= now):
        if enough():
            return  # `due` stays for the next sweep
        await _recover(tables, key_id, request_id, result, now=now)
    later = [end for end in ends.values() if end > now]
    try:
        if not later:
            await table.update(holds.unwatch(key_id))
        elif "due" in item:
            await table.update(holds.watch_later(key_id, was=item["due"], due=int(min(later)) + 1))
    except ConditionFailed:
        return  # a request has begun, or another sweep was faster: `due` stays for the next one
    finally:
        result.accounts += 1


async def _recover(
    tables: Tables, key_id: str, request_id: str, result: Sweep, *, now: float
) -> None:
    logged = None
    if tables.streams is not None:
        logged = await end_log(tables.streams, request_id, now=now)
    step = await settlements.recover(tables.usage, key_id, request_id, now=now, logged=logged)
    if step is not None:
        result.done[step] += 1
        log("recovered", request_id=request_id, key=key_id, was=step)
        account = await tables.usage.get(account_key(key_id))
        if account is not None:
            when = request_time(request_id)
            for alert in budget_alerts.reached(Account.of(account), when=when):
                await budget_alerts.note(tables.usage, alert, now=now)


async def _mark_if_rolled(table: Table, request_id: str) -> None:
    hour = request_hour(request_id)
    if hour < (await rolled_range(table) or ("", ""))[1]:
        await mark_dirty(table, hour)


def _failed(result: Sweep, error: Exception, **where: str) -> None:
    result.failures += 1
    result.unanswered += isinstance(error, MeterUnavailable)
    log("sweep_failed", error=repr(error), **where)
