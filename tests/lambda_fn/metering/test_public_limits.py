"""Limits and windows as the holder of a key sees them."""

from lambda_fn.metering.accounts import Account, Limits, new_account
from lambda_fn.metering.public_limits import limits_of, windows
from tests.support.function import KEY

NOW = 1_795_219_185.0


def test_limits_and_windows() -> None:
    """Limits that are not set are null, and money is text. An overdrawn window has 0 remaining."""
    item = new_account(
        KEY, name="n", now=1, limits=Limits(tokens_day=100, cost_day=2_500_000_000, max_streams=3)
    )
    item["balance"] = {"tokens#2026-11-20": -7, "cost#2026-11-20": 10**9}
    account = Account.of(item)
    assert limits_of(account) == {
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "concurrent_streams": 3,
        "tokens_per_day": 100,
        "tokens_per_month": None,
        "cost_per_day": "2.5",
        "cost_per_month": None,
    }
    shown = windows(account, now=NOW)
    day = {"resets_at": 1_795_219_200}
    assert shown["tokens_per_day"] == {"limit": 100, "spent": 107, "left": 0, **day}
    assert shown["cost_per_day"] == {"limit": "2.5", "spent": "1.5", "left": "1", **day}
    assert (shown["tokens_per_month"]["limit"], shown["tokens_per_month"]["left"]) == (None, None)
