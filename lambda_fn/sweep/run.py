"""One sweep: overdue requests, then overdue accounts, then rollups; as much of it as there is time for."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.ids import request_time
from lambda_fn.log import log
from lambda_fn.metering import reservations, settlements
from lambda_fn.metering.dirty_hours import mark_dirty
from lambda_fn.metering.keys import account_id, request_hour
from lambda_fn.reporting.rollup_progress import rolled_range
from lambda_fn.reporting.rollups import Contended, advance, roll_dirty
from lambda_fn.sweep import overdue

_AT_ONCE = 16
_GIVE_UP = 10
"""After so many calls without an answer in a sweep DynamoDB is down: the next one goes on."""
_NOT_OURS = (KeyError, ValueError, TypeError)
"""An item that is not as ours are: it stops no other."""
RECOVERED = ("settled", "found", "refused")
"""What `books.recover` calls a request that its function had not settled."""


@dataclass
class Sweep:
    """What one sweep did."""

    done: Counter[str] = field(default_factory=Counter)
    """Requests that were brought to their end, by what they were (`books.recover`)."""
    accounts: int = 0
    failures: int = 0
    """What is left for the next sweep, and why is in the log."""
    unanswered: int = 0
    """Of these, calls that DynamoDB did not answer."""
    hours: int = 0
    """Rolled for the first time."""
    again: int = 0
    """Rolled again after a late correction."""
    finished: bool = True
    """False when the time was over, or DynamoDB was."""

    @property
    def recovered(self) -> int:
        """Requests that were settled by the sweeper."""
        return sum(self.done[what] for what in RECOVERED)

    @property
    def overdue(self) -> int:
        """All requests that were left over."""
        return sum(self.done.values())


async def sweep(table: Table, *, now: float, longest: float, stop: Callable[[], bool]) -> Sweep:
    """Sweep once.

    Args:
        table: The usage table.
        now: Unix time.
        longest: Seconds after which no request can be running.
        stop: Whether the time is over; asked before each piece of work.

    """
    result = Sweep()

    def enough() -> bool:
        if stop() or result.unanswered >= _GIVE_UP:
            result.finished = False
        return not result.finished

    async def request(key: dict[str, str]) -> None:
        item = await table.get(key)
        if item is not None and item["state"] == "OPEN":
            # It may have been written after its hour was rolled. Settled without being booked it leaves no other trace,
            # so the mark is made before and after: a sweep that is killed between the two has left one.
            await _mark_if_rolled(table, key["sk"])
            await _recover(table, item["key"], key["sk"], result, now=now)
            await _mark_if_rolled(table, key["sk"])

    async def account(key: dict[str, str]) -> None:
        await _account(table, key, result, now=now, longest=longest, enough=enough)

    await _each(overdue.requests(table, now=now), request, result, enough)
    await _each(overdue.accounts(table, now=now), account, result, enough)
    try:
        result.again = await roll_dirty(table, stop=enough)
        result.hours = await advance(table, now=now, longest=longest, stop=enough)
    except (Contended, MeterUnavailable, *_NOT_OURS) as error:
        _failed(result, error)
    return result


async def _each(
    keys: AsyncIterator[dict[str, str]],
    work: Callable[[dict[str, str]], Awaitable[None]],
    result: Sweep,
    enough: Callable[[], bool],
) -> None:
    """Work on what is found, a few at once, until there is no more or it is enough."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(key: dict[str, str]) -> None:
        try:
            if not enough():
                await work(key)
        except (MeterUnavailable, *_NOT_OURS) as error:
            _failed(result, error, pk=key["pk"], sk=key["sk"])
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            async for key in keys:
                await room.acquire()
                if enough():
                    room.release()
                    break
                tasks.create_task(one(key))
    except* MeterUnavailable as group:
        _failed(result, group.exceptions[0])


async def _account(
    table: Table, key: dict[str, str], result: Sweep, *, now: float, longest: float, enough: Callable[[], bool]
) -> None:
    """Bring what is too long in flight to its end, and have the account looked at again when the rest is due."""
    item = await table.get(key)
    if item is None:
        return
    key_id = account_id(key["pk"])
    ends = {request_id: request_time(request_id) + longest for request_id in item["in_flight"]}
    for request_id in sorted(name for name, end in ends.items() if end <= now):
        if enough():
            return  # `due` stays, for the next sweep
        await _recover(table, key_id, request_id, result, now=now)
    later = [end for end in ends.values() if end > now]
    try:
        if not later:
            await table.update(reservations.unwatch(key_id))
        elif "due" in item:
            await table.update(reservations.watch_later(key_id, was=item["due"], due=int(min(later)) + 1))
    except ConditionFailed:
        return  # something came in flight, or another sweeper was here: `due` stays, for the next sweep
    finally:
        result.accounts += 1


async def _recover(table: Table, key_id: str, request_id: str, result: Sweep, *, now: float) -> None:
    what = await settlements.recover(table, key_id, request_id, now=now)
    if what is not None:
        result.done[what] += 1
        log("recovered", request_id=request_id, key=key_id, was=what)


async def _mark_if_rolled(table: Table, request_id: str) -> None:
    hour = request_hour(request_id)
    if hour < (await rolled_range(table) or ("", ""))[1]:
        await mark_dirty(table, hour)


def _failed(result: Sweep, error: Exception, **where: str) -> None:
    result.failures += 1
    result.unanswered += isinstance(error, MeterUnavailable)
    log("sweep_failed", error=repr(error), **where)
