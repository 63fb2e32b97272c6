"""Bars, sums and missing days for tables of usage. Pure functions."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bars(amounts: Sequence[int], width: int = 24) -> list[str]:
    """Return a bar for each amount, as text.

    The longest is `width` cells wide. A non-zero amount gets at least an eighth of a cell.
    """
    maximum = max(amounts, default=0)
    drawn = []
    for amount in amounts:
        eighths = 0 if not amount else max(1, round(amount * width * 8 / maximum))
        full, rest = divmod(eighths, 8)
        drawn.append("█" * full + (_EIGHTHS[rest] if rest else ""))
    return drawn


def without_refused(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the admin API with `refused` as a field of its own.

    `requests` is then without the refused ones, as in the key's totals.
    """
    refused = row["outcomes"].get("refused", 0)
    return {**row, "requests": row["requests"] - refused, "refused": refused}


def every_day(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows by day, with rows of zeros for the days between them."""
    used = {row["day"]: row for row in rows}
    day, last = date.fromisoformat(rows[0]["day"]), date.fromisoformat(rows[-1]["day"])
    empty = dict.fromkeys(
        ("requests", "prompt_tokens", "completion_tokens", "refused", "recovered", "open"), 0
    )
    days = []
    while day <= last:
        name = day.isoformat()
        days.append(used.get(name, {"day": name, **empty, "cost": "0"}))
        day += timedelta(days=1)
    return days


def money(rows: Sequence[dict[str, Any]]) -> str:
    """Return the exact sum of the costs."""
    return plain(sum((Decimal(row["cost"]) for row in rows), Decimal(0)))


def decimal(nano: int) -> str:
    """Return an amount of nano-USD in USD."""
    return plain(Decimal(nano).scaleb(-9))


def plain(amount: Decimal) -> str:
    """Return an amount without an exponent or trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
