"""Bounds the number of values of a JSON text before it is parsed.

A parsed value takes many times the memory of its text.
"""

import re
from functools import cache

_FEW_QUOTES = 10_000


def more_values(body: bytes, most: int) -> bool:
    """Return whether a text has more than `most` commas, `[` and `{` outside strings.

    Their number bounds the values of the text, and its nesting. The text may be any bytes, and the
    time is linear in its length.
    """
    if len(body) <= most or _signs(body) <= most:
        return False
    text = bare(body)
    if text.count(b'"') <= _FEW_QUOTES:  # for few strings, a split is faster than the match
        return _signs(b"".join(text.split(b'"')[::2])) > most
    return _more(most).match(text) is not None


def _signs(text: bytes) -> int:
    return len(text) - len(text.translate(None, b"{[,"))  # in one pass


def bare(body: bytes) -> bytes:
    """Return the text with spaces for escaped quotes and backslashes.

    Every quote that remains begins or ends a string. The length stays the same.
    """
    return body.replace(rb"\\", b"  ").replace(rb"\"", b"  ") if b"\\" in body else body


@cache
def _more(most: int) -> re.Pattern[bytes]:
    # One match of the whole text allocates nothing.
    return re.compile(rb'(?:(?:[^"\[{,]++|"[^"]*+(?:"|\Z))*+[\[{,]){%d}+' % (most + 1))
