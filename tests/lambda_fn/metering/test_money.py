"""Money as text, and prices."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.metering.money import Prices, Tokens, from_decimal, to_text


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
    """Prices are read from the attributes that they write. In a hold they are still a list.

    A hold that an earlier deployment wrote has two of them.
    """
    prices = Prices(3, 5)
    assert prices.attributes == {"prompt_price": 3, "completion_price": 5}
    every = Prices(3, 5, 1, 4, 7)
    assert every.attributes["reasoning_price"] == 7
    for it in (prices, every):
        assert Prices.of({**it.attributes, "model": "m"}) == it
        assert msgspec.json.decode(msgspec.json.encode(it), type=Prices) == it
    assert msgspec.json.decode(b"[3,5]", type=Prices) == prices


@pytest.mark.parametrize(
    ("tokens", "cost"),
    [
        (Tokens(7, 11), 7 * 30 + 11 * 50),
        (Tokens(7, 11, cached=4), 3 * 30 + 4 * 10 + 11 * 50),
        (Tokens(7, 11, image=2), 5 * 30 + 2 * 40 + 11 * 50),
        (Tokens(7, 11, reasoning=6), 7 * 30 + 5 * 50 + 6 * 70),
        (Tokens(7, 11, cached=9, image=9, reasoning=99), 7 * 10 + 11 * 70),
        (Tokens(7, 11, cached=5, image=5), 5 * 10 + 2 * 40 + 11 * 50),
        (Tokens(0, 0), 0),
    ],
)
def test_parts_have_their_own_prices(tokens: Tokens, cost: int) -> None:
    """Cached, image and reasoning tokens are taken out of what they are a part of."""
    assert Prices(30, 50, 10, 40, 70).cost(tokens) == cost
    assert Prices(30, 50).cost(tokens) == tokens.prompt * 30 + tokens.completion * 50
    assert Prices(30, 50, 0, 0, 0).cost(Tokens(7, 11, cached=7, reasoning=11)) == 0


_price = st.integers(0, 10**9)
_count = st.integers(0, 10**7)


@given(
    st.builds(Prices, _price, _price, *[st.none() | _price] * 3),
    st.builds(Tokens, _count, _count, _count, _count, _count),
)
def test_a_bound_holds_whatever_the_parts_are(prices: Prices, tokens: Tokens) -> None:
    """What is reserved covers each way to count the parts."""
    assert 0 <= prices.cost(tokens) <= prices.bound(tokens.prompt, tokens.completion)
