"""Invokes functions by schedules of EventBridge Scheduler, and by rules of EventBridge.

Their expressions are `rate(...)`, `cron(...)` and `at(...)` in UTC. A schedule's clock starts when
the schedule is deployed, and runs at the time scale. Flexible windows are ignored, and a failed
invocation is not repeated.

Source: "Schedule types" of the EventBridge Scheduler user guide.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

from local.limits import Limits
from local.state import Schedule

log = logging.getLogger("local.lambda_")

_UNITS = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
# A cron expression that matches no time within this period never fires.
_HORIZON = timedelta(days=366 * 4)

Fire = Callable[[Schedule, bytes], Awaitable[None]]


class BadExpression(ValueError):
    """The expression cannot be parsed."""


def next_time(expression: str, after: datetime) -> datetime | None:
    """Return the time after `after` at which a schedule fires, or None if it never does. Pure.

    Raises BadExpression.
    """
    if match := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        return after + timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if match := re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", expression):
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
        return moment if moment > after else None
    if match := re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression):
        return _next_cron(match.groups(), after)
    raise BadExpression(f"the local cloud cannot read the schedule expression {expression}")


def _next_cron(fields: tuple[str, ...], after: datetime) -> datetime | None:
    minutes, hours = _values(fields[0], 0, 59), _values(fields[1], 0, 23)
    dates, months = _values(fields[2], 1, 31), _values(fields[3], 1, 12, _MONTHS)
    days, years = _values(fields[4], 1, 7, _DAYS), _values(fields[5], 1970, 2199)
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    end = after + _HORIZON
    while moment < end:
        weekday = moment.isoweekday() % 7 + 1  # Sunday is 1
        if (
            moment.year not in years
            or moment.month not in months
            or moment.day not in dates
            or weekday not in days
        ):
            moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
        elif moment.hour not in hours:
            moment = moment.replace(minute=0) + timedelta(hours=1)
        elif moment.minute not in minutes:
            moment += timedelta(minutes=1)
        else:
            return moment
    return None


def _values(field: str, minimum: int, maximum: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    values: set[int] = set()
    try:
        for part in field.split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            if span in {"*", "?"}:
                start, end = minimum, maximum
            else:
                start = _number(first, names, minimum)
                end = _number(last, names, minimum) if last else (maximum if step else start)
            values.update(range(start, end + 1, int(step or 1)))
    except ValueError as error:
        raise BadExpression(f"the local cloud cannot read {field} in a cron expression") from error
    return frozenset(values)


def _number(text: str, names: tuple[str, ...], minimum: int) -> int:
    return names.index(text.upper()) + minimum if text.upper() in names else int(text)


class Schedules:
    """All schedules. Each has its own task."""

    def __init__(self, fire: Fire, limits: Limits) -> None:
        """`fire` invokes the function of a schedule with an event.

        It may raise any Exception of the data plane.
        """
        self._fire = fire
        self._limits = limits
        self._tasks: dict[Schedule, asyncio.Task[None]] = {}

    def apply(self, schedules: Iterable[Schedule]) -> None:
        """Use the deployed schedules. A changed schedule starts again."""
        active = {schedule for schedule in schedules if schedule.enabled}
        for schedule in [running for running in self._tasks if running not in active]:
            self._tasks.pop(schedule).cancel()
        for schedule in active - set(self._tasks):
            self._tasks[schedule] = asyncio.create_task(self._run(schedule))

    async def stop(self) -> None:
        """Cancel all schedules."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, schedule: Schedule) -> None:
        loop = asyncio.get_running_loop()
        started, began = datetime.now(UTC), loop.time()
        moment: datetime | None = started
        while True:
            assert moment is not None  # noqa: S101 - it ends before
            try:
                moment = next_time(schedule.expression, moment)
            except BadExpression as error:
                log.warning("schedule %s: %s", schedule.arn, error)
                return
            if moment is None:
                return
            await asyncio.sleep(
                began + self._limits.real((moment - started).total_seconds()) - loop.time()
            )
            log.info("schedule %s fires", schedule.arn)
            try:
                await self._fire(schedule, _event(schedule, moment))
            except Exception as error:  # noqa: BLE001 - the schedule goes on after any error
                log.warning("schedule %s: %r", schedule.arn, error)


def _event(schedule: Schedule, moment: datetime) -> bytes:
    if schedule.input is not None:
        return schedule.input.encode()
    if schedule.arn.split(":")[2] == "scheduler":
        return b"{}"
    account, region = schedule.arn.split(":")[4], schedule.arn.split(":")[3]
    event = {
        "version": "0",
        "id": f"{schedule.arn}@{int(moment.timestamp())}",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [schedule.arn],
        "detail": {},
    }
    return json.dumps(event).encode()
