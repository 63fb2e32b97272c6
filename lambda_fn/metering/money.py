"""Amounts of money: integers in nano-dollars (1e-9 of the currency unit) inside, decimal text outside."""

from decimal import Decimal

DIGITS = 9


def to_text(nano: int) -> str:
    """Write an amount in currency units, exactly: 12500000000 -> `12.5`."""
    text = f"{Decimal(nano).scaleb(-DIGITS):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def from_decimal(amount: Decimal) -> int:
    """Give an amount of currency units in nano-dollars.

    Raises:
        ValueError: it has more than nine decimals.

    """
    nano = amount.scaleb(DIGITS)
    if nano != nano.to_integral_value():
        raise ValueError(f"at most {DIGITS} decimals")
    return int(nano)
