"""The tests and commands that the threat model names exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/security.md").read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"tests/[\w./-]*", PAGE))))
def test_each_test_is_there(path: str) -> None:
    """A test file that the page names exists and has tests."""
    assert re.search(
        r"^(async def test_|def test_|Test\w* = |test\()", (ROOT / path).read_text(), re.MULTILINE
    )


def test_each_command_is_there() -> None:
    """A target of make that the page names exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", PAGE))
    assert named <= targets
    assert {"attack", "test-browser"} <= named


def test_each_row_names_what_shows_it() -> None:
    """Each claim about a hop has a test or a command beside it."""
    hops = PAGE.partition("## Each hop")[2].partition("## Accepted risks")[0]
    rows = [
        line
        for line in hops.splitlines()
        if line.startswith("|") and not line.startswith(("| what holds", "|---"))
    ]
    assert len(rows) > 20
    assert [
        row for row in rows if not re.fullmatch(r"\|.*\|.*\|( `(tests/\S+|make \S+)`,?)+ \|", row)
    ] == []
