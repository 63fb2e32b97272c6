"""A key's limits as its holder and its administrator are shown them. Tokens are numbers, money is decimal text."""

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
"""The account's names of limits, and those that are shown."""


def limits_of(account: Account) -> dict[str, int | str | None]:
    """Give all limits; None is none."""
    return {PUBLIC[name]: shown(name, getattr(account.limits, name)) for name in LIMIT_NAMES}


def shown(limit: str, value: int) -> int | str | None:
    """Give one limit."""
    return None if value >= UNLIMITED else _amount(limit, value)


def windows(account: Account, *, now: float) -> dict[str, dict[str, Any]]:
    """Give what is spent and left in each window that runs; spent is with what running requests have reserved."""
    return {PUBLIC[window.limit]: _window(account, window) for window in windows_of(now)}


def _window(account: Account, window: Window) -> dict[str, Any]:
    most: int = getattr(account.limits, window.limit)
    left = account.remaining(window)
    return {
        "limit": shown(window.limit, most),
        "spent": _amount(window.limit, most - left),
        "left": None if most >= UNLIMITED else _amount(window.limit, max(0, left)),
        "resets_at": window.ends,
    }


def _amount(limit: str, value: int) -> int | str:
    return to_text(value) if limit.startswith("cost") else value
