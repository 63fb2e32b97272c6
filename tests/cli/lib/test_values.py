"""Values of the command line."""

import argparse

import pytest

from cli.lib.values import STACK_NAME, counted, shown, stack_name
from cli.main import main
from infra.settings.deployment import FIELDS


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


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("enabled", False, "no"),
        ("expires_at", 1_796_006_689, "2026-11-30 02:44 UTC"),
        ("expires_at", None, "none"),
        ("limits.tokens_per_day", 50_000, "50,000"),
        ("cost", "0.000000001", "0.000000001"),
        ("models", ["a", "b"], "a b"),
    ],
)
def test_a_field_is_shown_in_words(name: str, value: object, text: str) -> None:
    """Times are no seconds since 1970, and truth is no constant of Python."""
    assert shown(name, value) == text


@pytest.mark.parametrize("name", ["", " ", "Sluice", "-a", "a_b", "a" * 25, "\x1b[31m", "a/b"])
def test_a_stack_has_a_name_that_can_be_deployed(name: str) -> None:
    """`--stack-name` takes what the setting `name` does, and nothing else reaches AWS."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not the name of a stack"):
        stack_name(name)
    assert stack_name("a-2" + "b" * 21)
    assert FIELDS["name"].metadata["pattern"] == STACK_NAME
