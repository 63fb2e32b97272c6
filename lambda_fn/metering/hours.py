"""UTC hours as text, such as `2026-11-21T06`. They sort by time, and begin with their day."""

import calendar
import time
from collections.abc import Iterator

_FORMAT = "%Y-%m-%dT%H"
_LENGTH = len("2026-11-21T06")


def hour_at(seconds: float) -> str:
    """Return the hour of a Unix time."""
    return time.strftime(_FORMAT, time.gmtime(seconds))


def begins(hour: str) -> int:
    """Return the Unix time at which an hour begins.

    Raises:
        ValueError: `hour` is not an hour.

    """
    if len(hour) != _LENGTH or not hour.isascii():  # `strptime` takes the digits of any script
        raise ValueError("an hour is written as 2026-11-21T06")
    return calendar.timegm(time.strptime(hour, _FORMAT))


def following(hour: str) -> str:
    """Return the next hour."""
    return hour_at(begins(hour) + 3600)


def between(since: str, until: str) -> Iterator[str]:
    """Yield the hours from `since` until before `until`."""
    for moment in range(begins(since), begins(until), 3600):
        yield hour_at(moment)


def days_between(since: str, until: str) -> list[str]:
    """Return the days of the hours from `since` until before `until`."""
    return sorted({hour[:10] for hour in between(since, until)})
