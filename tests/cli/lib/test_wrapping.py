"""Streamed text that wraps at spaces."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cli.lib.wrapping import Wrapped

_ERASED = re.compile(r"\x1b\[(\d+)D\x1b\[K")


def shown(written: str) -> list[str]:
    """Return the lines that a terminal shows."""
    while found := _ERASED.search(written):
        before = written[: found.start()]
        written = before[: len(before) - int(found[1])] + written[found.end() :]
    return written.split("\n")


@given(
    words=st.lists(st.text("abc", min_size=1, max_size=12), max_size=20),
    cuts=st.lists(st.integers(1, 5), min_size=1),
    width=st.integers(2, 20),
)
@example(words=["longer-than-a-line", "b"], cuts=[3], width=6)
@settings(max_examples=30)
def test_words_stay_whole(words: list[str], cuts: list[int], width: int) -> None:
    """No line is too long, no word that fits is broken, and every character is shown in order."""
    text, wrapped, pieces, at = " ".join(words), Wrapped(width), "", 0
    while at < len(text):
        size = cuts[at % len(cuts)]
        pieces += wrapped.written(text[at : at + size])
        at += size
    lines = shown(pieces)
    assert all(len(line) < width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    found = " ".join(lines).split()
    assert all(word in found for word in words if len(word) < width)


def test_lines_of_the_text_and_wide_characters() -> None:
    """A line feed begins a line. A script without spaces wraps after any of its characters."""
    wrapped = Wrapped(10)
    lines = shown(wrapped.written("ab\ncd " + "語" * 7))
    assert lines[:2] == ["ab", "cd 語語語"]
    assert all(cell_len(line) < 10 for line in lines)
