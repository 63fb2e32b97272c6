"""CSV cells are escaped if a spreadsheet would compute them."""

import pytest

from lambda_fn.cells import inert


@pytest.mark.parametrize(
    "begin", ["=", "+", "-", "@", "\t", "\r", "\n", " =", " \u00a0+", "\uff1d", "\uff20"]
)
def test_what_a_spreadsheet_would_compute_is_text(begin: str) -> None:
    """A cell that begins like a formula gets an apostrophe in front, also after blanks."""
    assert inert(f"{begin}cmd|' /C calc'!A0") == f"'{begin}cmd|' /C calc'!A0"


@pytest.mark.parametrize("text", ["", "demo", "a=b", "0.5", "2026-11-21", " plain", "'=1"])
def test_all_else_is_as_it_was(text: str) -> None:
    """Names, numbers and dates are unchanged."""
    assert inert(text) == text
