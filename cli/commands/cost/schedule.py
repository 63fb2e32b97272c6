"""The number of instances that a schedule of the endpoint keeps, on average over a year.

Application Auto Scaling's expressions are those of EventBridge:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.settings.endpoint import Plan

_MINUTES = 24 * 60
_SINCE = date(2027, 1, 4)
_DAYS = 364
"""Whole weeks, so that each day of the week counts the same."""
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEK = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def average_minimum(plans: Sequence[Plan], otherwise: int) -> float | None:
    """Return the average of the minimum that plans set, over 52 weeks.

    Each plan holds until the next one comes. Plans of one moment (`at`) are not part of an average
    year. `otherwise` holds if there are no others.

    Returns None for an expression that this does not read: `rate`, a day such as `L` or `2#1`, or
    one that does not come in these weeks.
    """
    changes: list[tuple[int, int]] = []
    for plan in plans:
        kind, _, rest = plan.when.partition("(")
        if kind == "at":
            continue
        try:
            moments = list(_moments(rest[:-1].upper().split()))
            if kind != "cron" or not moments:
                return None
            changes += [(moment, plan.minimum) for moment in moments]
        except ValueError:
            return None
    if not changes:
        return float(otherwise)
    changes.sort(key=lambda change: change[0])
    whole, minimum, at = 0, changes[-1][1], 0  # the year before ended with the last one
    for moment, following in [*changes, (_DAYS * _MINUTES, 0)]:
        whole += (moment - at) * minimum
        minimum, at = following, moment
    return whole / (_DAYS * _MINUTES)


def _moments(fields: Sequence[str]) -> Iterator[int]:
    """Yield the minutes, from the first day's midnight on, at which six fields match."""
    if len(fields) != 6:
        raise ValueError(fields)
    minutes, hours = _values(fields[0], 0, 59), _values(fields[1], 0, 23)
    days, months = _values(fields[2], 1, 31), _values(fields[3], 1, 12, _MONTHS)
    week, years = _values(fields[4], 1, 7, _WEEK), _values(fields[5], 1970, 2199)
    for number in range(_DAYS):
        day = _SINCE + timedelta(days=number)
        matches = day.day in days and day.month in months and day.year in years
        if matches and day.isoweekday() % 7 + 1 in week:
            yield from (
                number * _MINUTES + hour * 60 + minute
                for hour in sorted(hours)
                for minute in sorted(minutes)
            )


def _values(field: str, low: int, high: int, names: Sequence[str] = ()) -> set[int]:
    """Return the numbers that a field means. Raises ValueError for a form that is not read."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, last = low, high
        if span not in ("*", "?"):
            begin, _, end = span.partition("-")
            first = _number(begin, low, names)
            last = _number(end, low, names) if end else (high if step else first)
        if not low <= first <= high or not low <= last <= high:
            raise ValueError(field)
        if last < first:  # such as FRI-MON
            last += high - low + 1
        numbers = range(first, last + 1, _count(step) if step else 1)
        found |= {low + (number - low) % (high - low + 1) for number in numbers}
    return found


def _number(text: str, low: int, names: Sequence[str]) -> int:
    return low + names.index(text) if text in names else _count(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError(text)
    return int(text)
