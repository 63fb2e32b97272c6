"""Settings of prices, in USD for a million tokens, and how they change by day."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.settings.fields import SettingsError, setting
from lambda_fn.settings import MAX_PRICE

PARTS = ("prompt", "completion", "cached", "image", "reasoning")
"""What has a price, as in `lambda_fn.metering.money`."""
_ROUNDING = 1e-6
"""By how much a price with three decimals may differ, as a float, from whole nano-USD a token."""
_PRICE = re.compile(r"([a-z]+) (\d{1,7}(?:\.\d{1,3})?)")


@dataclass(frozen=True, kw_only=True)
class PriceSettings:
    """What tokens cost. Without prices, budgets of USD limit nothing."""

    prompt_price: float | None = setting(default=None, minimum=0, maximum=1_000_000)
    completion_price: float | None = setting(default=None, minimum=0, maximum=1_000_000)
    cached_price: float | None = setting(default=None, minimum=0, maximum=1_000_000)
    """Of a prompt's tokens that the server had cached. None: as all of the prompt's."""
    image_price: float | None = setting(default=None, minimum=0, maximum=1_000_000)
    """Of the tokens that images may have. None: as all of the prompt's."""
    reasoning_price: float | None = setting(default=None, minimum=0, maximum=1_000_000)
    """Of a completion's tokens that are reasoning. None: as all of the completion's."""
    price_changes: Mapping[str, str] = setting(
        default={},
        pattern=r"[a-z0-9 .,]{1,200}",
        form='a JSON object of prices by day: {"2027-01-01": "prompt 0.5, completion 1.5"}',
    )
    """Later prices, by the day (UTC) on which they begin. They replace all before."""
    monthly_ceiling: float | None = setting(default=None, minimum=0.01, maximum=1_000_000_000)
    """USD that the tokens of a month may cost, at the prices of the models. When they are spent,
    requests are refused until the next month.
    """

    def check_prices(self) -> None:
        """Raise SettingsError if a price is too fine or lacks others, or a change is wrong."""
        for name in (f"{part}_price" for part in PARTS):
            price = getattr(self, name)
            if price is not None and abs(price * 1000 - round(price * 1000)) > _ROUNDING:
                raise SettingsError(
                    f"{name}={price}: must have at most three decimals; the meter counts whole "
                    "nano-USD a token"
                )
        if self.prompt_price is not None and self.completion_price is not None:
            changes(self.price_changes)
            return
        named = ("cached_price", "image_price", "reasoning_price", "price_changes")
        for name in named:
            if getattr(self, name) not in (None, {}):
                raise SettingsError(f"{name}: needs prompt_price and completion_price")


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
