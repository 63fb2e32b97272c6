"""How many values a JSON text has, told before it is parsed: each takes many times its bytes in memory and time."""

import re
from functools import cache


def more_values(body: bytes, most: int) -> bool:
    """Tell whether a text has more than `most` commas, brackets and braces outside strings.

    That bounds its nesting, too. The text may be any bytes; the time is linear.
    """
    if len(body) <= most or sum(map(body.count, (b"{", b"[", b","))) <= most:
        return False
    return _more(most).match(bare(body)) is not None  # those in strings are text


def bare(body: bytes) -> bytes:
    """Return a text of the same length whose quotes all begin or end a string."""
    return body.replace(rb"\\", b"  ").replace(rb"\"", b"  ")


@cache
def _more(most: int) -> re.Pattern[bytes]:
    # as one match, since that allocates nothing
    return re.compile(rb'(?:(?:[^"\[{,]++|"[^"]*+(?:"|\Z))*+[\[{,]){%d}+' % (most + 1))
