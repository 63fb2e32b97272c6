"""Bars and sums for tables of usage. Pure."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bars(amounts: Sequence[int], width: int = 24) -> list[str]:
    """Give a bar for each amount, the longest `width` wide; what is not nothing can be seen."""
    most = max(amounts, default=0)
    found = []
    for amount in amounts:
        eighths = 0 if not amount else max(1, round(amount * width * 8 / most))
        full, rest = divmod(eighths, 8)
        found.append("█" * full + (_EIGHTHS[rest] if rest else ""))
    return found


def unrefused(row: dict[str, Any]) -> dict[str, Any]:
    """Give a row of the admin API with its refused requests apart; `requests` are then those of the key's totals."""
    refused = row["outcomes"].get("refused", 0)
    return {**row, "requests": row["requests"] - refused, "refused": refused}


def every_day(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give rows by day with the days between them, in which nothing was used."""
    known = {row["day"]: row for row in rows}
    day, last = date.fromisoformat(rows[0]["day"]), date.fromisoformat(rows[-1]["day"])
    empty = dict.fromkeys(("requests", "prompt_tokens", "completion_tokens", "refused", "recovered", "open"), 0)
    found = []
    while day <= last:
        name = day.isoformat()
        found.append(known.get(name, {"day": name, **empty, "cost": "0"}))
        day += timedelta(days=1)
    return found


def money(rows: Sequence[dict[str, Any]]) -> str:
    """Sum up costs, exactly."""
    return plain(sum((Decimal(row["cost"]) for row in rows), Decimal(0)))


def decimal(nano: int) -> str:
    """Write nano-dollars in currency units."""
    return plain(Decimal(nano).scaleb(-9))


def plain(amount: Decimal) -> str:
    """Write an amount without an exponent and needless zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
