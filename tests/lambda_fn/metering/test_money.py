"""Money as text, and prices."""

from decimal import Decimal

import msgspec
import pytest

from lambda_fn.metering.money import Prices, from_decimal, to_text


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (12_500_000_000, "12.5"),
        (3 * 10**9, "3"),
        (10**17, "100000000"),
    ],
)
def test_money_is_exact_as_text(nano: int, text: str) -> None:
    """An amount is written exactly, without trailing zeros, and read back the same."""
    assert to_text(nano) == text
    assert from_decimal(Decimal(text)) == nano


def test_more_than_nine_decimals_are_refused() -> None:
    """An amount with a fraction of a nano-USD is an error. It is not rounded."""
    with pytest.raises(ValueError, match="9 decimals"):
        from_decimal(Decimal("0.0000000001"))


def test_prices_have_the_names_of_the_ledger() -> None:
    """Prices are read from the attributes that they write. In a hold they are still a list."""
    prices = Prices(3, 5)
    assert prices.cost(7, 11) == 76
    assert prices.attributes == {"prompt_price": 3, "completion_price": 5}
    assert Prices.of({**prices.attributes, "model": "m"}) == prices
    assert msgspec.json.encode(prices) == b"[3,5]"
