r"""The syntax of patterns: regular expressions whose matches have a bounded length.

    abc  \.  \t \n  .          characters; `.` is any but a line feed
    [a-z_]  [^,]  \d \w \s     classes, as in Python
    a|b  (ab)  (?:ab)          alternatives and groups
    a?  a{3}  a{2,5}           repetitions
    \b                         the border of a word, at the beginning or the end of the pattern
    (?i)                       in front: letters match both cases

Anything else is refused with a reason: `*`, `+` and `{2,}` have no bound, and look-arounds,
references and anchors need more than one pass. A pattern is expanded into nodes of one character
each. A text is matched by following nodes, without backtracking.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

MAX_SOURCE = 1_000
"""The maximum length of a pattern as written, in characters."""
MAX_LENGTH = 512
"""The maximum length of a match, in characters."""
MAX_NODES = 2_048
"""The maximum number of nodes of a pattern after its repetitions are expanded."""
_MAX_DEPTH = 20

Matches = Callable[[str], object]
"""Returns something true for each character that a node matches."""


class PatternError(ValueError):
    """A pattern is not accepted. The message says why, and does not repeat the pattern."""


class Node(NamedTuple):
    """One character of a pattern: which characters match, and what may follow.

    `after` has the indexes of the nodes that may follow, and `last` tells whether a match may end
    here.
    """

    matches: Matches
    after: tuple[int, ...]
    last: bool


class Expression(NamedTuple):
    """A pattern: its nodes, those that a match begins with, and the borders that it asks for."""

    nodes: tuple[Node, ...]
    first: tuple[int, ...]
    longest: int
    word_before: bool
    word_after: bool


class _Set(NamedTuple):
    matches: Matches


class _Row(NamedTuple):
    parts: "tuple[_Tree, ...]"


class _Either(NamedTuple):
    parts: "tuple[_Tree, ...]"


class _Repeat(NamedTuple):
    part: "_Tree"
    least: int
    most: int


_Tree = _Set | _Row | _Either | _Repeat
_COUNT = re.compile(r"\{(\d{1,4})(?:,(\d{0,4}))?\}")
_CLASS = re.compile(r"\[\^?(?:\\.|[^\\\[\]])+\]", re.DOTALL)
_KINDS = "dDwWsS"
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}


def read(source: str) -> Expression:
    """Return a pattern that is written in this syntax.

    Raises:
        PatternError: it is not, its matches are too long, or its nodes are too many.

    """
    if len(source) > MAX_SOURCE:
        raise PatternError(f"it has over {MAX_SOURCE} characters")
    text = source.removeprefix("(?i)")
    reader = _Reader(text, both_cases=text != source)
    word_before = text.startswith(r"\b")
    word_after = len(text) > 2 and text.endswith(r"\b") and not text.endswith(r"\\b")
    tree = reader.read(2 if word_before else 0, len(text) - (2 if word_after else 0))
    shortest, longest, nodes = _size(tree)
    if shortest == 0:
        raise PatternError("it matches an empty text")
    if longest > MAX_LENGTH:
        raise PatternError(f"a match may have {longest} characters, and {MAX_LENGTH} are allowed")
    if nodes > MAX_NODES:
        raise PatternError(f"its repetitions make {nodes} steps, and {MAX_NODES} are allowed")
    return _expand(tree, longest, word_before=word_before, word_after=word_after)


def words(several: Sequence[str]) -> Expression:
    """Return a pattern that matches each of some words in both cases, within borders of words.

    Raises:
        PatternError: there is no word, one is empty or too long, or there are too many.

    """
    trees = []
    for word in several:
        if not word or len(word) > MAX_LENGTH:
            raise PatternError(f"a word has 1 to {MAX_LENGTH} characters")
        trees.append(_Row(tuple(_Set(_either_case(letter)) for letter in word)))
    total = sum(map(len, several))
    if not trees or total > 4 * MAX_NODES:
        raise PatternError(
            f"the words have {total} characters, and 1 to {4 * MAX_NODES} are allowed"
        )
    longest = max(map(len, several))
    return _expand(_Either(tuple(trees)), longest, word_before=True, word_after=True)


def is_word(character: str) -> bool:
    """Return whether a character belongs to a word: a letter, a digit or `_`.

    Letters of Thai, and of the scripts after it in Unicode, do not count. Most of these scripts are
    written without spaces, so their words have no borders.
    """
    return (character.isalnum() or character == "_") and character < "\u0e00"


def _either_case(letter: str) -> Matches:
    return frozenset({letter, letter.lower(), letter.upper()}).__contains__


class _Reader:
    """Reads a pattern by recursive descent. It looks at each character once."""

    def __init__(self, text: str, *, both_cases: bool) -> None:
        self._text = text
        self._cases = both_cases
        self._at = 0
        self._end = 0

    def read(self, begin: int, end: int) -> _Tree:
        self._at, self._end = begin, end
        tree = self._either(0)
        if self._at < self._end:
            raise PatternError("a ) has no ( before it")
        return tree

    def _either(self, depth: int) -> _Tree:
        if depth > _MAX_DEPTH:
            raise PatternError(f"groups are nested over {_MAX_DEPTH} deep")
        parts = [self._row(depth)]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._row(depth))
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def _row(self, depth: int) -> _Tree:
        parts: list[_Tree] = []
        while self._peek() not in ("", "|", ")"):
            part = self._repeated(self._part(depth))
            parts.append(part)
        return parts[0] if len(parts) == 1 else _Row(tuple(parts))

    def _repeated(self, part: _Tree) -> _Tree:
        mark = self._peek()
        if mark in ("*", "+"):
            raise PatternError(f"{mark} has no bound: write a number, as {{0,64}}")
        if mark == "?":
            self._at += 1
            part = _Repeat(part, 0, 1)
        elif mark == "{":
            found = _COUNT.match(self._text, self._at, self._end)
            if found is None:
                raise PatternError("after { there are one or two numbers and }, or write \\{")
            self._at = found.end()
            least = int(found[1])
            most = least if found[2] is None else int(found[2]) if found[2] else None
            if most is None:
                raise PatternError(f"{found[0]} has no bound: write a second number")
            if most < max(least, 1):
                raise PatternError(f"{found[0]}: the second number is too small")
            part = _Repeat(part, least, most)
        else:
            return part
        if self._peek() in ("?", "+", "*", "{"):
            raise PatternError("a repetition follows a repetition; lazy ones are not available")
        return part

    def _part(self, depth: int) -> _Tree:
        mark = self._text[self._at]
        self._at += 1
        if mark == "(":
            return self._group(depth)
        if mark == "[":
            return self._class()
        if mark == "\\":
            return self._escape()
        if mark == ".":
            return _Set("\n".__ne__)
        if mark in "^$":
            raise PatternError(f"{mark} is not available: use \\b, or write \\{mark}")
        if mark in "*+?{":
            raise PatternError(f"{mark} has nothing before it; write \\{mark} for the character")
        return self._literal(mark)

    def _group(self, depth: int) -> _Tree:
        if self._peek() == "?":
            if not self._text.startswith("?:", self._at):
                raise PatternError("of groups that begin with (? only (?: is available")
            self._at += 2
        tree = self._either(depth + 1)
        if self._peek() != ")":
            raise PatternError("a ( has no )")
        self._at += 1
        return tree

    def _class(self) -> _Tree:
        found = _CLASS.match(self._text, self._at - 1, self._end)
        if found is None:
            raise PatternError("a [ has no ], or nothing or another [ before it")
        self._at = found.end()
        return _Set(self._compiled(found[0]))

    def _escape(self) -> _Tree:
        if self._at >= self._end:
            raise PatternError("a \\ at the end")
        mark = self._text[self._at]
        self._at += 1
        if mark in _KINDS:
            return _Set(self._compiled("\\" + mark))
        if mark in _CONTROLS:
            return _Set(_CONTROLS[mark].__eq__)
        if mark == "b":
            raise PatternError("\\b is available at the beginning and the end of a pattern only")
        if mark.isalnum():
            raise PatternError(f"\\{mark} is not available")
        return self._literal(mark)

    def _literal(self, character: str) -> _Tree:
        return _Set(_either_case(character) if self._cases else character.__eq__)

    def _compiled(self, text: str) -> Matches:
        """Return what one class matches. `re` gets one character, so it has nothing to try."""
        try:
            return re.compile(text, re.IGNORECASE if self._cases else 0).match
        except (re.error, RecursionError, OverflowError):
            raise PatternError("a class in [ ] is malformed") from None

    def _peek(self) -> str:
        return self._text[self._at] if self._at < self._end else ""


def _size(tree: _Tree) -> tuple[int, int, int]:
    """Return the length of the shortest and the longest match, and the number of nodes."""
    match tree:
        case _Set():
            return 1, 1, 1
        case _Row(parts):
            sizes = [_size(part) for part in parts]
            return (
                sum(it[0] for it in sizes),
                sum(it[1] for it in sizes),
                sum(it[2] for it in sizes),
            )
        case _Either(parts):
            sizes = [_size(part) for part in parts]
            return (
                min(it[0] for it in sizes),
                max(it[1] for it in sizes),
                sum(it[2] for it in sizes),
            )
        case _Repeat(part, least, most):
            shortest, longest, nodes = _size(part)
            return shortest * least, longest * most, nodes * most


class _Place(NamedTuple):
    """What may come at a place: nodes, and whether a match may end there."""

    nodes: frozenset[int]
    ends: bool


def _expand(tree: _Tree, longest: int, *, word_before: bool, word_after: bool) -> Expression:
    nodes: list[Node] = []

    def before(tree: _Tree, then: _Place) -> _Place:
        """Return what may come before `tree`, of which `then` may come after."""
        match tree:
            case _Set(matches):
                nodes.append(Node(matches, tuple(sorted(then.nodes)), then.ends))
                return _Place(frozenset((len(nodes) - 1,)), ends=False)
            case _Row(parts):
                for part in reversed(parts):
                    then = before(part, then)
                return then
            case _Either(parts):
                places = [before(part, then) for part in parts]
                joined = frozenset().union(*(place.nodes for place in places))
                return _Place(joined, any(place.ends for place in places))
            case _Repeat(part, least, most):
                last = then
                for count in range(most, 0, -1):
                    came = before(part, then)
                    then = came if count <= least else _Place(came.nodes | last.nodes, last.ends)
                return then

    first = before(tree, _Place(frozenset(), ends=True)).nodes
    return Expression(tuple(nodes), tuple(sorted(first)), longest, word_before, word_after)
