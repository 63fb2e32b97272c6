r"""Scans JSON text that comes in pieces: the contents of its strings, and what is between them.

Escapes are decoded for the scanner, even one that is divided over two pieces. What goes out is
escaped again where JSON needs it. So a match is found however it is written. The value of other
text stays the same, and its spelling may change. A match outside of strings, such as a number,
becomes a string. Text that is not JSON is scanned as well.
"""

import re

from lambda_fn.patterns.machine import Machine
from lambda_fn.patterns.scanner import Rewrite, Scanner

_MARK = re.compile(r'["\\]')
_ESCAPE = re.compile(
    r'\\(?:(["\\/bfnrt])|u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})'
    r"|u([0-9a-fA-F]{4}))"
)
_CUT = re.compile(
    r"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?))?\Z"
)
_SPECIAL = re.compile('["\\\\\x00-\x1f\ud800-\udfff]')
_DECODED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ENCODED = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


class JsonScanner:
    """One JSON text. It has the methods of a `Scanner`."""

    __slots__ = ("_cut", "_in_string", "_outside", "_string")

    def __init__(self, machine: Machine, rewrite: Rewrite) -> None:
        """Begin outside of a string."""
        self._string = Scanner(machine, rewrite)
        self._outside = Scanner(machine, lambda kind, match: f'"{rewrite(kind, match)}"')
        self._in_string = False
        self._cut = ""

    @property
    def holds(self) -> bool:
        """Whether some of the text is held."""
        return self._string.holds or self._outside.holds or bool(self._cut)

    def feed(self, text: str) -> str:
        """Take the next piece of the text, and return what may go out."""
        text, self._cut = self._cut + text, ""
        out: list[str] = []
        at, size = 0, len(text)
        while at < size:
            if not self._in_string:
                quote = text.find('"', at)
                end = size if quote < 0 else quote
                if end > at:
                    out.append(self._outside.feed(text[at:end]))
                at = end
                if quote >= 0:
                    out += (self._outside.close(), '"')
                    self._in_string, at = True, quote + 1
                continue
            mark = _MARK.search(text, at)
            end = size if mark is None else mark.start()
            if end > at:
                out.append(_escaped(self._string.feed(text[at:end])))
            at = end
            if mark is None:
                break
            if mark[0] == '"':
                out += (_escaped(self._string.close()), '"')
                self._in_string, at = False, end + 1
                continue
            if _CUT.match(text, end):
                self._cut = text[end:]
                break
            found = _ESCAPE.match(text, end)
            character = "\\" if found is None else _character(found)
            out.append(_escaped(self._string.feed(character)))
            at = end + 1 if found is None else found.end()
        return "".join(out)

    def seam(self) -> str:
        """Return what is held, except a cut escape. See `Scanner.seam`."""
        return _escaped(self._string.seam()) if self._in_string else self._outside.seam()

    def close(self) -> str:
        """Return the rest of the text, which has ended."""
        cut, self._cut = self._cut, ""
        if self._in_string:
            # A cut escape has no character of its own, but for the half of a pair.
            return _escaped(self._string.close()) + cut
        return self._outside.close() + cut


def _character(escape: "re.Match[str]") -> str:
    simple, high, low, code = escape.groups()
    if simple is not None:
        return _DECODED.get(simple, simple)
    if code is not None:
        return chr(int(code, 16))
    return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))


def _escaped(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda found: _ENCODED.get(found[0]) or f"\\u{ord(found[0]):04x}", text)
