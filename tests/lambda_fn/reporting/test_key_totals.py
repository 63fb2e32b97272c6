"""The totals of a key, and their differences."""

import pytest

from lambda_fn.metering.accounts import Correction, Hold, Spend
from lambda_fn.metering.money import Prices
from lambda_fn.reporting.key_totals import BOOKED, Amounts, KeyTotals, compare_rows
from lambda_fn.reporting.usage_rows import UsageRow


def amounts(count: int) -> Amounts:
    """Return the amounts of `count` equal requests."""
    return dict(zip(BOOKED, (count, 7 * count, 11 * count, 76 * count), strict=True))


@pytest.mark.parametrize("booked", range(4))
def test_a_prefix_of_the_doubtful_is_booked(booked: int) -> None:
    """The account may have booked the first of three doubtful requests. That is no difference."""
    totals = KeyTotals("k", account=amounts(5 + booked), ledger=amounts(8), rollups=amounts(8))
    totals.settle_doubt([amounts(1)] * 3)
    assert totals.ledger == totals.rollups == amounts(5 + booked)
    assert totals.differences() == []


def test_doubt_explains_no_other_difference() -> None:
    """A difference that no prefix of the doubtful requests explains is reported in full."""
    totals = KeyTotals("k", account=amounts(2), ledger=amounts(8), rollups=amounts(8))
    totals.settle_doubt([amounts(1)] * 3)
    assert next(map(str, totals.differences())) == "k requests: account 2, ledger 8"


def test_a_request_that_is_corrected_is_not_counted() -> None:
    """What a correction has booked already is subtracted from the account."""
    correction = Correction(Spend(1, 7, 11, 76), Prices(3, 5), {})
    totals = KeyTotals("k")
    totals.set_account(
        {**amounts(3), "in_flight": {"r": Hold(1000, 0, 0, "", "m", correction).text}}
    )
    assert (totals.account, totals.in_flight) == (amounts(2), 1)


def test_rows_are_compared_figure_by_figure() -> None:
    """A row that only one side has differs in each figure. A row without requests is ignored."""
    row = UsageRow("2026-11-21T06", "k", "m", 1, 7, 11, 76, 0, {"complete": 1})
    empty = UsageRow("2026-11-21T06", "k", "other", 0, 0, 0, 0, 0, open=1)
    assert compare_rows([row, empty], [row]) == []
    differences = compare_rows([row], [])
    figures = ["complete", "completion_tokens", "cost", "prompt_tokens", "requests"]
    assert [it.field for it in differences] == [f"2026-11-21T06 m {figure}" for figure in figures]
    assert {it.places for it in differences} == {("ledger", "rollup")}
