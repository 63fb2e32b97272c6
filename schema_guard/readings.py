"""Counts the ways to read on in a pattern, which decide its cost in llama.cpp's own grammars.

At every step, llama.cpp follows each way separately through every token of the vocabulary. The
count is made on the automaton of the pattern's positions. Each repetition is written out there, but
not beyond the length of a token.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

TOKEN: Final = 12
"""The length of a token, in characters. Most tokens are shorter."""
ANY: Final = (1 << 129) - 1
"""The set of all characters: bit n is the character of code n, bit 128 all outside ASCII."""


@dataclass(frozen=True, slots=True)
class Character:
    """One character out of those in `bits`."""

    bits: int


@dataclass(frozen=True, slots=True)
class Row:
    """Parts that follow each other."""

    parts: "Sequence[Node]"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several alternatives."""

    of: "Sequence[Node]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """A repeated part. `most` is None if the repetition has no end."""

    part: "Node"
    least: int
    most: int | None


Node = Character | Row | Choice | Repeat


class TooManyPositions(Exception):
    """The automaton has too many positions and transitions."""


@dataclass(slots=True)
class _Span:
    """The positions where a part may begin and end, and whether it may be empty."""

    first: list[int]
    last: list[int]
    empty: bool


class Automaton:
    """The positions of a pattern, and for each of them the positions that may follow."""

    def __init__(self, pattern: Node, most: int) -> None:
        """Build the automaton of a pattern.

        Raises:
            TooManyPositions: it has more than `most` positions and transitions together.

        """
        self.size = 0
        self._most = most
        self._bits: list[int] = []
        self._follow: list[set[int]] = []
        self._first = self._add(pattern).first

    def readings(self, most: int) -> int:
        """Return the largest number of ways to read a token from one position.

        The count stops when it exceeds `most`, so a larger result is not exact.
        """
        # Alternatives of one repetition lead to the same places: each set of places is read once.
        follow = [frozenset(places) for places in [*self._follow, self._first]]
        groups = {places: _by_character(self._bits, places) for places in {*follow}}
        if all(len(places) == 1 for classes in groups.values() for places in classes):
            return 1
        ways = [1] * len(follow)
        for _ in range(TOKEN):
            after = {
                places: max((sum([ways[place] for place in leads]) for leads in classes), default=1)
                for places, classes in groups.items()
            }
            before, ways = ways, [after[places] for places in follow]
            if ways == before or max(ways) > most:
                break
        return max(ways)

    def _add(self, node: Node) -> _Span:
        if isinstance(node, Character):
            self._count(1)
            place = len(self._bits)
            self._bits.append(node.bits)
            self._follow.append(set())
            return _Span([place], [place], empty=False)
        if isinstance(node, Choice):
            spans = [self._add(each) for each in node.of]
            return _Span(
                [place for span in spans for place in span.first],
                [place for span in spans for place in span.last],
                any(span.empty for span in spans),
            )
        if isinstance(node, Repeat):
            return self._repeated(node)
        whole = _Span([], [], empty=True)
        for part in node.parts:
            whole = self._joined(whole, self._add(part))
        return whole

    def _repeated(self, node: Repeat) -> _Span:
        whole = _Span([], [], empty=True)
        for _ in range(min(node.least, TOKEN)):  # no token reaches further
            whole = self._joined(whole, self._add(node.part))
        if node.most is None:
            again = self._add(node.part)
            self._link(again.last, again.first)
            again.empty = True
            return self._joined(whole, again)
        before, first, last = whole.last, [*whole.first], [*whole.last]
        for number in range(min(node.most - node.least, TOKEN)):
            part = self._add(node.part)
            self._link(before, part.first)
            if whole.empty and number == 0:
                first += part.first
            before = part.last
            last += before
        return _Span(first, last, whole.empty)

    def _joined(self, before: _Span, after: _Span) -> _Span:
        self._link(before.last, after.first)
        return _Span(
            before.first + after.first if before.empty else before.first,
            before.last + after.last if after.empty else after.last,
            before.empty and after.empty,
        )

    def _link(self, last: list[int], first: list[int]) -> None:
        self._count(len(last) * len(first))
        for place in last:
            self._follow[place].update(first)

    def _count(self, more: int) -> None:
        self.size += more
        if self.size > self._most:
            raise TooManyPositions


def _by_character(bits: list[int], places: Collection[int]) -> list[tuple[int, ...]]:
    """Return the places that each class of characters leads to.

    A class consists of the characters that lead to the same places.
    """
    if len(places) == 1:
        return [(*places,)]
    classes: list[int] = []
    for rest in {bits[place] for place in places}:
        for each in [*classes]:
            common = each & rest
            if common and common != each:
                classes.remove(each)
                classes += [common, each & ~common]
            rest &= ~common
        if rest:
            classes.append(rest)
    return [tuple(place for place in places if bits[place] & each) for each in classes]
