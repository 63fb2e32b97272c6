"""The windows in which a key's limits count: the UTC minute, day and month of the time in a request
id.

What remains in a window is one member of the account's `balance`, made by the first request of the
window:

    requests#2026-11-21T06:45   requests_minute      cost#2026-11-21    cost_day
    tokens#2026-11-21T06:45     tokens_minute        cost#2026-11       cost_month
    tokens#2026-11-21           tokens_day           tokens#2026-11     tokens_month

Windows begin with the clock's minute, day and month, so that a request's windows can be named at
any later time.
"""

import calendar
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

UNLIMITED = 10**18
"""The value of a limit that is not set."""


@dataclass(frozen=True)
class Window:
    """A window of a limit. `limit` is the account's attribute, `ends` is in Unix seconds."""

    name: str
    limit: str
    ends: int


def windows_of(when: float) -> list[Window]:
    """Return the six windows of a Unix time, short ones first."""
    return _windows_of(int(when // 60))


# a request needs them four times, and thousands need those of the same minute
@lru_cache(maxsize=16)
def _windows_of(minutes: int) -> list[Window]:
    utc = time.gmtime(minutes * 60)
    month = time.strftime("%Y-%m", utc)
    day, minute = f"{month}-{utc.tm_mday:02}", time.strftime("%Y-%m-%dT%H:%M", utc)
    return [
        Window(name, limit, window_end(name))
        for name, limit in (
            (f"requests#{minute}", "requests_minute"),
            (f"tokens#{minute}", "tokens_minute"),
            (f"tokens#{day}", "tokens_day"),
            (f"cost#{day}", "cost_day"),
            (f"tokens#{month}", "tokens_month"),
            (f"cost#{month}", "cost_month"),
        )
    ]


@lru_cache(maxsize=64)
def window_end(name: str) -> int:
    """Return the Unix time at which a window ends, by its name in `balance`.

    Raises:
        ValueError: `name` is not the name of a window.

    """
    date, _, clock = name.partition("#")[2].partition("T")
    year, month, *day = map(int, date.split("-"))
    if not day:
        return calendar.timegm((year, month, calendar.monthrange(year, month)[1], 24, 0, 0))
    if not clock:
        return calendar.timegm((year, month, day[0], 24, 0, 0))
    hour, minute = map(int, clock.split(":"))
    return calendar.timegm((year, month, day[0], hour, minute + 1, 0))


def expired(names: Iterable[str], now: float) -> list[str]:
    """Return the windows that ended before any request that can still come: they can be removed.

    A minute is kept for one minute more, days and months for an hour: longer than an admission
    takes and clocks differ.
    """
    return [name for name in names if now > window_end(name) + (60 if ":" in name else 3600)]
