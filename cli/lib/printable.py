"""Escape untrusted text before it is printed, so that it cannot control the terminal. Pure.

Such text is a name, a completion or an error message.
"""

import re
from functools import partial

# These are: the control characters of C0 (ESC, CR, BEL, ...) and of C1 (each of 0x80-0x9f is an
# escape sequence in one character), the characters that change the direction of a line, and halves
# of surrogate pairs, which cannot be encoded.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Return the text with unsafe characters as escapes: ESC becomes `\x1b`, U+202E `\u202e`.

    The characters of `keep` stay. A table's cell keeps none, so text cannot begin a new line.
    """
    return _UNSAFE.sub(partial(_escaped, keep=keep), text)


def _escaped(match: re.Match[str], *, keep: str) -> str:
    character = match[0]
    if character in keep:
        return character
    return f"\\x{ord(character):02x}" if character <= "\xff" else f"\\u{ord(character):04x}"
