"""Untrusted text, as the command prints it."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from cli.lib.printable import printable

ANYTHING = st.text(alphabet=st.characters(exclude_categories=()))  # surrogate halves too


def test_ordinary_text_is_as_it_was() -> None:
    """Letters of all scripts, emoji with joiners, line ends and tabs are not touched."""
    text = "Grüße, 你好, مرحبا, नमस्ते 👩\u200d💻\n\tend\u00a0."
    assert printable(text) == text


def test_sequences_are_written_out() -> None:
    """Characters that clear a screen, set a title, ring, or reverse a line are shown as escapes."""
    assert printable("\x1b[2J\x1b]0;title\x07\r\x9b31m\u202egpj.exe") == (
        "\\x1b[2J\\x1b]0;title\\x07\\x0d\\x9b31m\\u202egpj.exe"
    )
    assert printable("a\nb\tc", keep="") == "a\\x0ab\\x09c"


@given(ANYTHING)
def test_nothing_is_left_that_steers(text: str) -> None:
    """No control character is left but line end and tab, and the text can be encoded.

    A second call changes nothing.
    """
    printed = printable(text)
    assert not [
        it for it in printed if unicodedata.category(it) in {"Cc", "Cs"} and it not in "\n\t"
    ]
    printed.encode()
    assert printable(printed) == printed
    assert not set("\n\t\u2028\u2029") & set(printable(text, keep=""))
