"""Counts the values of a JSON text before it is parsed: each takes many times its bytes in memory
and time.
"""

import re
from functools import cache

_FEW_QUOTES = 10_000


def more_values(body: bytes, most: int) -> bool:
    """Return whether a text has more than `most` commas, brackets and braces outside strings.

    That also bounds its nesting. The text may be any bytes; the time is linear.
    """
    if len(body) <= most or _signs(body) <= most:
        return False
    text = bare(body)
    if text.count(b'"') <= _FEW_QUOTES:  # long strings are cut out faster than they are matched
        return _signs(b"".join(text.split(b'"')[::2])) > most
    return _more(most).match(text) is not None


def _signs(text: bytes) -> int:
    return len(text) - len(text.translate(None, b"{[,"))  # in one pass


def bare(body: bytes) -> bytes:
    """Return a text of the same length in which every quote begins or ends a string."""
    return body.replace(rb"\\", b"  ").replace(rb"\"", b"  ") if b"\\" in body else body


@cache
def _more(most: int) -> re.Pattern[bytes]:
    # as one match, since that allocates nothing
    return re.compile(rb'(?:(?:[^"\[{,]++|"[^"]*+(?:"|\Z))*+[\[{,]){%d}+' % (most + 1))
