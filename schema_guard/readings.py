"""How many ways to read on a pattern has, which is what llama.cpp's own grammars pay for.

llama.cpp follows each way by itself, through every token of the vocabulary, at every step. A
pattern is taken as the automaton of its positions: each repetition is written out, as far as a
token can tell.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

TOKEN: Final = 12
"""Characters of a token that are followed: most tokens have fewer."""
ANY: Final = (1 << 129) - 1
"""Every character: a bit each by its code, and bit 128 for all outside ASCII."""


@dataclass(frozen=True, slots=True)
class Character:
    """One character out of those in `bits`."""

    bits: int


@dataclass(frozen=True, slots=True)
class Row:
    """One part after the other."""

    parts: "Sequence[Node]"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some."""

    of: "Sequence[Node]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part, repeated; `most` is None without end."""

    part: "Node"
    least: int
    most: int | None


Node = Character | Row | Choice | Repeat


class TooManyPositions(Exception):
    """The automaton has more than the allowed number of positions and transitions."""


@dataclass(slots=True)
class _Span:
    """The positions that a part may begin and end at, and whether it may be empty."""

    first: list[int]
    last: list[int]
    empty: bool


class Automaton:
    """The positions of a pattern and which may follow each."""

    def __init__(self, pattern: Node, most: int) -> None:
        """Write a pattern out. Raises TooManyPositions where it has more than `most` positions and
        transitions.
        """
        self.size = 0
        self._most = most
        self._bits: list[int] = []
        self._follow: list[set[int]] = []
        self._first = self._add(pattern).first

    def readings(self, most: int) -> int:
        """Return the most ways to read on from one place for the length of a token; over `most` it
        is not exact.
        """
        follow = [_by_character(self._bits, places) for places in [*self._follow, self._first]]
        if all(len(places) == 1 for groups in follow for places in groups):
            return 1
        ways = [1] * len(follow)
        for _ in range(TOKEN):
            ways = [
                max((sum([ways[place] for place in places]) for places in groups), default=1)
                for groups in follow
            ]
            if max(ways) > most:
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
        # what is further away than a token is long makes no difference
        for _ in range(min(node.least, TOKEN)):
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
    """Return the places that a character leads to, for each class of characters that lead to the
    same ones.
    """
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
