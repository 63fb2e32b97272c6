"""Prices, and amounts of money: integers of nano-USD (1e-9 USD) inside, decimal USD outside."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

DIGITS = 9


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of a request, by what they may cost.

    `cached` and `image` are parts of `prompt`, and `reasoning` is one of `completion`.
    """

    prompt: int
    completion: int
    cached: int = 0
    image: int = 0
    reasoning: int = 0


class Prices(msgspec.Struct, frozen=True, array_like=True):
    """The prices of a model, nano-USD a token.

    Without a price of their own, cached tokens and those of images cost what a prompt's tokens
    cost, and those of reasoning what a completion's cost.
    """

    prompt: int
    completion: int
    cached: int | None = None
    image: int | None = None
    reasoning: int | None = None

    def cost(self, tokens: Tokens) -> int:
        """Return the cost of tokens, nano-USD.

        A part counts at most as the whole that it is a part of. The cached tokens come first: an
        image that was cached costs what cached tokens cost.
        """
        cached = min(tokens.cached, tokens.prompt)
        image = min(tokens.image, tokens.prompt - cached)
        reasoning = min(tokens.reasoning, tokens.completion)
        return (
            (tokens.prompt - cached - image) * self.prompt
            + cached * _or(self.cached, self.prompt)
            + image * _or(self.image, self.prompt)
            + (tokens.completion - reasoning) * self.completion
            + reasoning * _or(self.reasoning, self.completion)
        )

    def bound(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the most that tokens can cost, nano-USD, whatever their parts are."""
        prompt = max(self.prompt, _or(self.cached, 0), _or(self.image, 0))
        return prompt_tokens * prompt + completion_tokens * self.completion_bound

    @property
    def completion_bound(self) -> int:
        """The most that a token of a completion can cost, nano-USD."""
        return max(self.completion, _or(self.reasoning, 0))

    @property
    def attributes(self) -> dict[str, int]:
        """The prices by their names in ledger items and log lines, without those that are None."""
        prices = {f"{name}_price": getattr(self, name) for name in PARTS}
        return {name: price for name, price in prices.items() if price is not None}

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "Prices":
        """Read the prices of a ledger item."""
        rest = (attributes.get(f"{name}_price") for name in PARTS[2:])
        return cls(attributes["prompt_price"], attributes["completion_price"], *rest)


PARTS = Prices.__struct_fields__
"""What has a price: `prompt`, `completion`, `cached`, `image` and `reasoning`."""


def _or(price: int | None, other: int) -> int:
    return other if price is None else price


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
