"""Prices, their changes by day, and the prices of a moment."""

import pytest

from infra.settings.deployment import DEV
from infra.settings.fields import SettingsError
from infra.settings.prices import PARTS, changes
from lambda_fn.metering.money import PARTS as PRICED
from lambda_fn.settings import Model, PriceChange

NEW_YEAR = 1_798_761_600  # 2027-01-01T00:00:00Z


def test_changes_are_read_in_the_order_of_their_days() -> None:
    """A day begins at midnight UTC. A price in USD a million tokens is 1,000 nano-USD a token."""
    found = changes(
        {
            "2027-02-01": "completion 2, prompt 1",
            "2027-01-01": "prompt 0.4, completion 1.2, cached 0",
        }
    )
    assert found == [
        (NEW_YEAR, {"prompt_price": 400, "completion_price": 1200, "cached_price": 0}),
        (NEW_YEAR + 31 * 86_400, {"completion_price": 2000, "prompt_price": 1000}),
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"2027-13-01": "prompt 1, completion 1"}, "not a day"),
        ({"2027-1-1": "prompt 1, completion 1"}, "not a day"),
        ({"tomorrow": "prompt 1, completion 1"}, "not a day"),
        ({"2027-01-01": "prompt 1"}, "needs prompt and completion"),
        ({"2027-01-01": "prompt 1, completion 1, audio 2"}, "audio 2"),
        ({"2027-01-01": "prompt 1, completion 1, prompt 2"}, "each once"),
        ({"2027-01-01": "prompt -1, completion 1"}, "prompt -1"),
        ({"2027-01-01": "prompt 0.0001, completion 1"}, "prompt 0.0001"),
        ({"2027-01-01": "prompt 9999999, completion 1"}, "over 1000000 USD"),
        ({"2027-01-01": ""}, "is not one of"),
    ],
)
def test_a_malformed_change_is_told(setting: dict[str, str], message: str) -> None:
    """The message names the day and what is wrong."""
    with pytest.raises(SettingsError, match=message):
        changes(setting)


@pytest.mark.parametrize("part", PARTS)
def test_a_price_that_would_be_rounded_is_refused(part: str) -> None:
    """The meter counts whole nano-USD a token. A finer price would become another, or none."""
    priced = DEV.replace(prompt_price=0.001, completion_price=1234.567)
    for fine in (0.0001, 0.0005, 0.1234, 999_999.9999):
        with pytest.raises(SettingsError, match="three decimals"):
            priced.replace(**{f"{part}_price": fine})
    for kept in (0.0, 0.001, 0.123, 0.3, 999_999.999):
        assert getattr(priced.replace(**{f"{part}_price": kept}), f"{part}_price") == kept


@pytest.mark.parametrize("name", ["cached_price", "image_price", "reasoning_price"])
def test_other_prices_need_those_of_prompt_and_completion(name: str) -> None:
    """A model has prices or none, whichever part they are of."""
    with pytest.raises(SettingsError, match=f"{name}: needs prompt_price"):
        DEV.replace(**{name: 1.0})
    assert DEV.replace(prompt_price=1.0, completion_price=1.0, **{name: 1.0})
    with pytest.raises(SettingsError, match="price_changes: needs"):
        DEV.replace(price_changes={"2027-01-01": "prompt 1, completion 1"})


def test_a_moment_has_the_prices_of_the_last_change() -> None:
    """Before midnight the earlier prices hold, and from midnight on the later ones, all of them."""
    change = PriceChange(NEW_YEAR, 4, 12, reasoning_price=20)
    model = Model(
        "e", 100, prompt_price=5, completion_price=15, cached_price=1, price_changes=(change,)
    )
    assert model.prices_at(NEW_YEAR - 0.001) == (5, 15, 1, None, None)
    assert model.prices_at(NEW_YEAR) == (4, 12, None, None, 20)
    assert Model("e", 100).prices_at(0) == (0, 0, None, None, None)
    assert len(model.prices_at(0)) == len(PRICED)
