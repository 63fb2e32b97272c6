"""Prices, and amounts of money: integers of nano-USD (1e-9 USD) inside, decimal USD outside."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

DIGITS = 9


class Prices(msgspec.Struct, frozen=True, array_like=True):
    """The prices of a model, nano-USD a token."""

    prompt: int
    completion: int

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the cost of tokens, nano-USD."""
        return prompt_tokens * self.prompt + completion_tokens * self.completion

    @property
    def attributes(self) -> dict[str, int]:
        """The prices by their names in ledger items and log lines."""
        return {"prompt_price": self.prompt, "completion_price": self.completion}

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "Prices":
        """Read the prices of a ledger item."""
        return cls(attributes["prompt_price"], attributes["completion_price"])


def to_text(nano: int) -> str:
    """Return an amount in USD as exact decimal text: 12500000000 -> `12.5`."""
    text = f"{Decimal(nano).scaleb(-DIGITS):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def from_decimal(amount: Decimal) -> int:
    """Return an amount of USD in nano-USD.

    Raises:
        ValueError: it has more than nine decimals.

    """
    nano = amount.scaleb(DIGITS)
    if nano != nano.to_integral_value():
        raise ValueError(f"at most {DIGITS} decimals")
    return int(nano)
