"""Output of commands, and the questions that they ask."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

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
def test_only_yes_confirms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, yes: bool
) -> None:
    """Any answer but yes is a no, also an empty line. The question shows both."""
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert terminal.confirm("Remove it?") is yes
    assert capsys.readouterr().out == "Remove it? [y/N] "


def test_without_a_terminal_there_is_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has to ask fails if standard input is not a terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="confirm it with --yes"):
        terminal.require_terminal("This would remove it: confirm it with --yes.")


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Each column is as wide as its widest cell, and numbers are right-aligned."""
    terminal.columns(("name", "value"), [("a", "1"), ("long name", "1,000")], right=("value",))
    assert capsys.readouterr().out == "name       value\na              1\nlong name  1,000\n"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets the width of the terminal."""

    def narrow(width: int) -> None:
        made = Console(width=width, highlight=False, soft_wrap=True)
        monkeypatch.setattr(terminal, "console", made)

    return narrow


HEAD = ("hop", "value in all", "source")
ROWS = [("Lambda", "6,291,456 bytes", "SageMaker runtime API reference"), ("a", "1 s", "b")]


@pytest.mark.parametrize("width", [30, 34, 40, 60, 80, 200])
def test_tables_fit(
    narrow: Callable[[int], None], capsys: pytest.CaptureFixture[str], width: int
) -> None:
    """No line is longer than the terminal, no number or word is broken, and nothing is left out."""
    narrow(width)
    terminal.columns(HEAD, ROWS, right=HEAD[1:2])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    for cell in ("6,291,456 bytes", "1 s"):
        assert any(cell in line for line in lines)
    words = " ".join(lines).split()
    for cell in (*HEAD, *ROWS[0], *ROWS[1]):
        assert all(word in words for word in cell.split())


def test_a_narrow_terminal_gets_fields_below_each_other(
    narrow: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns that do not fit beside each other are lines with their names."""
    narrow(30)
    terminal.columns(HEAD, ROWS, right=HEAD[1:2])
    assert capsys.readouterr().out.splitlines() == [
        "hop           Lambda",
        "value in all  6,291,456 bytes",
        "source        SageMaker",
        "              runtime API",
        "              reference",
        "",
        "hop           a",
        "value in all  1 s",
        "source        b",
    ]


def test_empty_columns_go_first(
    narrow: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A table that does not fit is printed without its empty columns before it becomes lines."""
    narrow(16)
    terminal.columns(("a", "empty", "b", "c"), [("1", "", "22222222", "3")], right=("b", "c"))
    assert capsys.readouterr().out.splitlines() == ["a         b  c", "1  22222222  3"]


@pytest.mark.parametrize(
    ("room", "shown"), [(0, ""), (1, ""), (4, "…def"), (6, "abcdef"), (9, "abcdef")]
)
def test_a_spinner_shows_the_end(room: int, shown: str) -> None:
    """The end of a line says what a tool is at; what does not fit is left out at its front."""
    assert terminal._end("abcdef", room) == shown


def test_lines_wrap_at_spaces_on_a_terminal_only() -> None:
    """A line with a longer word, or for copying, is left as it is; elsewhere every line is."""

    def printed(text: str, *, is_terminal: bool = True, **options: bool) -> list[str]:
        out = io.StringIO()
        terminal.Output(file=out, width=8, force_terminal=is_terminal).print(text, **options)
        return [line.rstrip() for line in out.getvalue().splitlines()]

    assert printed("aa bbbbb cc") == ["aa bbbbb", "cc"]
    assert printed("aa bbbbb cc", is_terminal=False) == ["aa bbbbb cc"]
    assert printed("aa bbbbb cc", soft_wrap=True) == ["aa bbbbb cc"]
    assert printed("aa bbbbbbbbbbbb cc") == ["aa bbbbbbbbbbbb cc"]
    assert printed("aa `b c d` e") == ["aa", "`b c d`", "e"]
    assert printed("aa `b c d e` f") == ["aa `b c", "d e` f"]


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR, a terminal gets no styles."""
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    terminal.Output(file=out, force_terminal=True).print("[bold red]x[/] [dim]y[/]")
    assert out.getvalue() == "x y\n"


def test_an_item_wraps_beside_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """The further lines of an item are indented; without a terminal, it is one line."""
    for is_terminal, shown in ((True, ["- aa", "  bb"]), (False, ["- aa bb"])):
        out = io.StringIO()
        made = terminal.Output(file=out, width=6, force_terminal=is_terminal)
        monkeypatch.setattr(terminal, "console", made)
        terminal.item("-", "aa bb")
        assert [line.rstrip() for line in out.getvalue().splitlines()] == shown
