"""UTC hours, written as `2026-11-21T06`: they sort as text, and the day is their first ten characters."""

import calendar
import time
from collections.abc import Iterator

_FORM = "%Y-%m-%dT%H"
_LENGTH = len("2026-11-21T06")


def hour_at(seconds: float) -> str:
    """Give the hour of a Unix time."""
    return time.strftime(_FORM, time.gmtime(seconds))


def begins(hour: str) -> int:
    """Give the Unix time at which an hour begins.

    Raises:
        ValueError: it is no hour.

    """
    if len(hour) != _LENGTH:
        raise ValueError("an hour is written as 2026-11-21T06")
    return calendar.timegm(time.strptime(hour, _FORM))


def following(hour: str) -> str:
    """Give the next hour."""
    return hour_at(begins(hour) + 3600)


def between(since: str, until: str) -> Iterator[str]:
    """Give the hours from `since` to before `until`."""
    for moment in range(begins(since), begins(until), 3600):
        yield hour_at(moment)


def days_between(since: str, until: str) -> list[str]:
    """Give the days that these hours lie in."""
    return sorted({hour[:10] for hour in between(since, until)})
