"""Queries of URLs."""

import pytest

from lambda_fn.errors import InvalidRequest
from lambda_fn.http.pages import whole_number


@pytest.mark.parametrize("text", ["9007199254740992", "9" * 19, "-1", "1.5", ""])
def test_a_number_outside_its_limits(text: str) -> None:
    """The message has both limits, also where the upper one is only that of JavaScript."""
    with pytest.raises(InvalidRequest) as refusal:
        whole_number(text, "starting_after")
    assert refusal.value.message == (
        "'starting_after' must be a whole number from 0 to 9007199254740991."
    )
    assert whole_number("9007199254740991", "starting_after") == 2**53 - 1
