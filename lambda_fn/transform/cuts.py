"""Cutters: they find where a text may be cut, for each kind of buffering.

A cutter gets the held text each time that the text has grown, and reads the new part. A place is a
number of characters from the start of the held text. No cut is within a grapheme cluster.

    word      before white space, and between the letters of scripts that are written without it
    sentence  before the white space after `.`, `!`, `?` or `…` and closing quotes; after a line end
    line      after a line end
    json      after each member of the outermost array or object, and after its end; other text
              passes through
"""

import re
from typing import Protocol
from unicodedata import category, east_asian_width

_CLOSING = "\"'”’»)]}」』）"
_WIDE_ENDS = "。！？"
_SENTENCE = re.compile(
    rf"[.!?…][{re.escape(_CLOSING)}]*(?=\s)|[{_WIDE_ENDS}][{re.escape(_CLOSING)}]*|\n"
)
_EXTENDING = "\uff9e\uff9f\u0e33\u0eb3"  # letters that belong to the one before them
# letters that belong to the one behind them
_PREPENDED = "\u0d4e\U000111c2\U000111c3\U000113d1\U0001193f\U00011941"


class Cutter(Protocol):
    """Finds the places to cut the text of one choice."""

    def cut(self, held: str, new: int) -> int:
        """Return how many characters of `held` may go out. The last `new` of them are new."""
        ...

    def sent(self, count: int) -> None:
        """Adjust to the removal of the first `count` characters, whether `cut` returned them or
        not.
        """
        ...


def begins_cluster(text: str, place: int) -> bool:
    """Return whether the character at `place` begins a grapheme cluster; False if in doubt."""
    character, before = text[place], text[place - 1]
    if character == "\n":
        return before != "\r"
    if category(character)[0] not in "LNPZ":
        return character in "\t\r"
    if (
        character in _EXTENDING
        or _joins_in_hangul(character)
        or category(before) == "Cf"
        or before in _PREPENDED
    ):
        return False
    # A letter after a mark may be part of an Indic conjunct.
    return character.isspace() or category(before)[0] != "M"


def _joins_in_hangul(character: str) -> bool:
    return (
        "\u1100" <= character <= "\u11ff"
        or "\ua960" <= character <= "\ua97f"
        or "\ud7b0" <= character <= "\ud7ff"
    )


class Word:
    """Words, each with the white space before it."""

    def cut(self, held: str, new: int) -> int:
        """Return the last place in the new text where a word ends, or 0."""
        for place in range(len(held) - 1, max(len(held) - new, 1) - 1, -1):
            character = held[place]
            if (character.isspace() or _wide(character)) and begins_cluster(held, place):
                return place
        return 0

    def sent(self, count: int) -> None:
        """Do nothing: this cutter has no state."""


def _wide(character: str) -> bool:
    hangul = "\uac00" <= character <= "\ud7a3"  # Korean is written with spaces
    return (
        character > "\u2e7f"
        and not hangul
        and category(character) == "Lo"
        and east_asian_width(character) == "W"
    )


class Sentence:
    """Sentences."""

    def cut(self, held: str, new: int) -> int:
        """Return the last end of a sentence. The end may have begun in text that is not new."""
        last = 0
        for match in _SENTENCE.finditer(held, max(0, len(held) - new - 16)):
            if match.group() == "\n" or (
                match.end() < len(held) and begins_cluster(held, match.end())
            ):
                last = match.end()
        return last

    def sent(self, count: int) -> None:
        """Do nothing: this cutter has no state."""


class Line:
    """Lines."""

    def cut(self, held: str, new: int) -> int:
        """Return the place behind the last line end."""
        return held.rfind("\n", len(held) - new) + 1

    def sent(self, count: int) -> None:
        """Do nothing: this cutter has no state."""


_LONG_CLUSTER = 64  # characters; a longer cluster is held until more text comes
_MARKS = re.compile(r'["\\\[\]{},]')


class Json:
    """Members of the outermost array or object."""

    def __init__(self) -> None:
        """Begin outside any value."""
        self._depth = 0
        self._in_string = False
        self._escaped = -1  # place of the character behind a backslash
        self._ready = 0

    def cut(self, held: str, new: int) -> int:
        """Return the place behind the last complete member."""
        for mark in _MARKS.finditer(held, len(held) - new):
            self._read_mark(mark.group(), mark.start())
        place = len(held) if self._depth == 0 else self._ready
        if place == len(held) and held[-1] not in "}],\n":
            place -= 1  # the next text may belong to the cluster of the last character
        for back in range(place, max(0, place - _LONG_CLUSTER), -1):
            if back == len(held) or held[back - 1] in "}],\n" or begins_cluster(held, back):
                return back
        return 0

    def sent(self, count: int) -> None:
        """Shift the places that were noted."""
        self._ready = max(0, self._ready - count)
        self._escaped -= count

    def _read_mark(self, mark: str, place: int) -> None:
        if self._in_string:
            if place == self._escaped:
                return
            if mark == "\\":
                self._escaped = place + 1
            elif mark == '"':
                self._in_string = False
        elif mark in "[{":
            self._depth += 1
        elif mark in "]}":
            self._depth = max(0, self._depth - 1)
            self._ready = place + 1 if self._depth == 0 else self._ready
        elif mark == "," and self._depth == 1:
            self._ready = place + 1
        elif mark == '"' and self._depth:
            self._in_string = True


CUTTERS: dict[str, type[Word] | type[Sentence] | type[Line] | type[Json]] = {
    "word": Word,
    "sentence": Sentence,
    "line": Line,
    "json": Json,
}
"""The cutters by the name in a request. `none` has no cutter."""
