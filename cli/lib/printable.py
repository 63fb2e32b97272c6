"""What came from elsewhere, made safe to print: a name, an answer or an error must not steer the terminal. Pure."""

import re
from functools import partial

# Controls of C0 (ESC, CR, BEL, ...) and C1, where each of 0x80-0x9f is an escape sequence in one character; what turns
# the direction of the line around; and halves of surrogate pairs, which no output can encode.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Return the text with unsafe characters written out: ESC becomes `\x1b`, U+202E becomes `\u202e`.

    Those of `keep` stay; a cell of a table keeps none, so that no text can begin a line of its own.
    """
    return _UNSAFE.sub(partial(_shown, keep=keep), text)


def _shown(found: re.Match[str], *, keep: str) -> str:
    character = found[0]
    if character in keep:
        return character
    return f"\\x{ord(character):02x}" if character <= "\xff" else f"\\u{ord(character):04x}"
