"""A key's limits as its holder and the admin see them.

Tokens are numbers, and money is decimal text in USD.
"""

from typing import Any

from lambda_fn.metering.accounts import LIMIT_NAMES, Account
from lambda_fn.metering.money import to_text
from lambda_fn.metering.windows import UNLIMITED, Window, windows_of

PUBLIC = {
    "requests_minute": "requests_per_minute",
    "tokens_minute": "tokens_per_minute",
    "max_streams": "concurrent_streams",
    "tokens_day": "tokens_per_day",
    "tokens_month": "tokens_per_month",
    "cost_day": "cost_per_day",
    "cost_month": "cost_per_month",
}
"""The account's attribute of each limit -> its public name."""


def limits_of(account: Account) -> dict[str, int | str | None]:
    """Return all limits; None stands for no limit."""
    return {PUBLIC[name]: shown(name, getattr(account.limits, name)) for name in LIMIT_NAMES}


def shown(limit: str, value: int) -> int | str | None:
    """Return the public value of a limit; None stands for no limit."""
    return None if value >= UNLIMITED else _amount(limit, value)


def windows(account: Account, *, now: float) -> dict[str, dict[str, Any]]:
    """Return the spent and the remaining amount of each current window, by its limit's public name.

    `spent` includes the amounts that running requests hold.
    """
    return {PUBLIC[window.limit]: _window(account, window) for window in windows_of(now)}


def _window(account: Account, window: Window) -> dict[str, Any]:
    limit: int = getattr(account.limits, window.limit)
    remaining = account.remaining(window)
    return {
        "limit": shown(window.limit, limit),
        "spent": _amount(window.limit, limit - remaining),
        "left": None if limit >= UNLIMITED else _amount(window.limit, max(0, remaining)),
        "resets_at": window.ends,
    }


def _amount(limit: str, value: int) -> int | str:
    return to_text(value) if limit.startswith("cost") else value
