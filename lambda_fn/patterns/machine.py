"""Matches several patterns at once by an automaton whose states are made when they are needed.

A state is a set of nodes, and a dictionary from a character to the state after it. Once that state
is made, a character costs one look-up. No pattern has loops, so no path is longer than the longest
match.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lambda_fn.patterns.syntax import Expression, Node, PatternError, is_word

MAX_STATES = 2_000
"""The maximum number of states of one pattern of the deployment's own."""
_MAX_KEPT = 20_000
"""Transitions that are kept, about 2 MB. Beyond them, all are dropped and made again."""

_PROBES = "".join(map(chr, range(128))) + "éßΩжא中日あ가٣९ \N{ZERO WIDTH SPACE}\N{GRINNING FACE}"


class Tail(NamedTuple):
    """The tail of a match: how it goes on after it was decided.

    Characters for which `goes_on` is true are swallowed, up to the text `until` if there is one.
    """

    goes_on: Callable[[str], object]
    until: str = ""


class Pattern(NamedTuple):
    """A pattern with its borders.

    `kind` is what a match is called. `check` returns whether the text of a match counts. A match
    does not begin after a character of `before`, or end before one of `after`. With a `tail`, the
    match is decided where it first may end, and the tail is swallowed.
    """

    kind: str
    expression: Expression
    check: Callable[[str], bool] | None = None
    before: Callable[[str], object] | None = None
    after: Callable[[str], object] | None = None
    tail: Tail | None = None


class State(dict[str, "State"]):
    """A state of a machine. `ends` has the patterns of which a match may end here."""

    __slots__ = ("_machine", "ends", "nodes")

    def __init__(
        self, machine: "Machine", nodes: frozenset[int], ends: tuple[Pattern, ...]
    ) -> None:
        """Begin without transitions."""
        super().__init__()
        self._machine = machine
        self.nodes = nodes
        self.ends = ends

    def __missing__(self, character: str) -> "State":
        """Make a transition."""
        found = self._machine.after(self, character)
        self[character] = found
        return found

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


class _Starts(dict[str, State]):
    """The state in which a match begins, by the character before it; `""` is the text's start."""

    def __init__(self, machine: "Machine", patterns: Sequence[Pattern]) -> None:
        super().__init__()
        self._machine = machine
        self._patterns = patterns

    def __missing__(self, before: str) -> State:
        nodes: set[int] = set()
        for pattern, first in zip(self._patterns, self._machine.first, strict=True):
            if before and pattern.before is not None and pattern.before(before):
                continue
            if before and pattern.expression.word_before and is_word(before):
                continue
            nodes.update(first)
        found = self._machine.state(frozenset(nodes))
        self._machine.count(self)
        self[before] = found
        return found


class Machine:
    """The automaton of some patterns. Where several match the same text, the first one counts."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        """Join the nodes of the patterns."""
        self.first: list[tuple[int, ...]] = []
        self._nodes: list[Node] = []
        self._owner: list[int] = []
        self._patterns = tuple(patterns)
        for number, pattern in enumerate(self._patterns):
            base, expression = len(self._nodes), pattern.expression
            self.first.append(tuple(base + node for node in expression.first))
            self._nodes += (
                Node(node.matches, tuple(base + it for it in node.after), node.last)
                for node in expression.nodes
            )
            self._owner += [number] * len(expression.nodes)
        self._kept = 0
        self.dead = State(self, frozenset(), ())
        self._made: dict[tuple[frozenset[int], tuple[int, ...]], State] = {}
        self.starts = _Starts(self, self._patterns)

    def state(self, nodes: Iterable[int], ends: tuple[int, ...] = ()) -> State:
        """Return the state of these nodes, in which matches of these patterns may end."""
        key = (frozenset(nodes), ends)
        if not key[0] and not ends:
            return self.dead
        found = self._made.get(key)
        if found is None:
            found = State(self, key[0], tuple(self._patterns[number] for number in ends))
            self._made[key] = found
        return found

    def after(self, state: State, character: str) -> State:
        """Return the state after a character."""
        self.count(state)
        nodes: set[int] = set()
        ends: set[int] = set()
        for number in state.nodes:
            node = self._nodes[number]
            if node.matches(character):
                nodes.update(node.after)
                if node.last:
                    ends.add(self._owner[number])
        return self.state(nodes, tuple(sorted(ends)))

    def count(self, table: dict[str, State]) -> None:
        """Count a transition before it is made. If there are too many, drop all."""
        self._kept += 1
        if self._kept > _MAX_KEPT:
            for state in self._made.values():
                state.clear()
            self._made.clear()
            self.starts.clear()
            table.clear()
            self._kept = 1


def check_size(expression: Expression) -> None:
    """Check that a pattern has few states, so that no text makes it expensive.

    Raises:
        PatternError: it has more than `MAX_STATES`.

    """
    machine = Machine([Pattern("", expression)])
    signs: dict[tuple[bool, ...], str] = {}
    sets = {node.matches for node in expression.nodes}
    for probe in _PROBES:
        signs.setdefault(tuple(bool(matches(probe)) for matches in sets), probe)
    start = machine.state(frozenset(expression.first))
    seen, todo = {start.nodes}, [start]
    while todo:
        state = todo.pop()
        for probe in signs.values():
            following = machine.after(state, probe)
            if following.nodes and following.nodes not in seen:
                seen.add(following.nodes)
                todo.append(following)
        if len(seen) > MAX_STATES:
            raise PatternError(
                f"it has over {MAX_STATES} states: repetitions whose parts can match the same text "
                "in many ways make them"
            )
