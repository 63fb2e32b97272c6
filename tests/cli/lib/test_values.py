"""Values of the command line."""

import pytest

from cli.lib.values import counted
from cli.main import main


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "keys create --expires 2020-01-01",
            "Argument --expires: '2020-01-01' is not in the future",
        ),
        ("keys create --expires soon", "Argument --expires: 'soon' is not a moment"),
    ],
)
def test_an_invalid_value_names_its_option(
    line: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid value ends the command before any call. The message names the option."""
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "no lines"), (1, "1 line"), (2, "2 lines"), (12_345, "12,345 lines")],
)
def test_a_number_agrees_with_its_noun(number: int, text: str) -> None:
    """A counted noun is in the plural, except after 1."""
    assert counted(number, "line") == text
