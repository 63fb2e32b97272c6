"""Output of commands, and the questions that they ask."""

import io

import pytest

from cli.lib import terminal
from cli.lib.project import CommandError


def test_a_step_is_two_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, a step prints a line at its start and one with its duration."""
    with terminal.step("Working") as detail:
        detail("unseen")
    begun, ended = capsys.readouterr().out.splitlines()
    assert begun == "  … Working"
    assert ended.startswith("✓ Working (")


@pytest.mark.parametrize(
    ("line", "yes"), [("y\n", True), (" Yes \n", True), ("n\n", False), ("\n", False)]
)
def test_only_yes_confirms(monkeypatch: pytest.MonkeyPatch, line: str, yes: bool) -> None:
    """Any answer but yes is a no, also an empty line."""
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert terminal.confirm("Remove it?") is yes


def test_without_a_terminal_there_is_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has to ask fails if standard input is not a terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="confirm it with --yes"):
        terminal.require_terminal("This would remove it: confirm it with --yes.")


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Each column is as wide as its widest cell, and numbers are right-aligned."""
    terminal.columns(("name", "value"), [("a", "1"), ("long name", "1,000")], right=("value",))
    assert capsys.readouterr().out == "name       value\na              1\nlong name  1,000\n"
