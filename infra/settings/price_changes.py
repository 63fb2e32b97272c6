"""Reads the setting `price_changes`: prices by the day from which they apply."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from infra.settings.fields import SettingsError
from lambda_fn.settings import MAX_PRICE

PARTS = ("prompt", "completion", "cached", "image", "reasoning")
"""What has a price, as in `lambda_fn.metering.money`."""
_PRICE = re.compile(r"([a-z]+) (\d{1,7}(?:\.\d{1,3})?)")


def changes(setting: Mapping[str, str]) -> list[tuple[int, dict[str, int]]]:
    """Return the changes, the earliest first: `since` in Unix seconds, and prices in nano-USD a
    token.

    Raises:
        SettingsError: a day or a price is malformed, or `prompt` or `completion` is missing.

    """
    return sorted((_begins(day), _prices(day, text)) for day, text in setting.items())


def _begins(day: str) -> int:
    try:
        moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise SettingsError(
            f"price_changes: {day[:40]!r} is not a day such as 2027-01-01"
        ) from None
    if moment.date().isoformat() != day:
        raise SettingsError(f"price_changes: {day[:40]!r} is not a day such as 2027-01-01")
    return int(moment.timestamp())


def _prices(day: str, text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in text.split(","):
        match = _PRICE.fullmatch(entry.strip())
        if match is None or match[1] not in PARTS or f"{match[1]}_price" in found:
            raise SettingsError(
                f"price_changes: {entry.strip()[:40]!r} of {day} is not one of "
                f"{', '.join(PARTS)} with USD for a million tokens, each once: prompt 0.5"
            )
        found[f"{match[1]}_price"] = round(float(match[2]) * 1000)
    if not {"prompt_price", "completion_price"} <= found.keys():
        raise SettingsError(f"price_changes: {day} needs prompt and completion")
    if max(found.values()) > MAX_PRICE:
        raise SettingsError(f"price_changes: a price of {day} is over {MAX_PRICE // 1000} USD")
    return found
