"""Counts the alternatives that llama.cpp's own grammars follow at once: the cost of a step.

A grammar follows every branch of a schema that the text so far may belong to, and within each of
them every reading of a pattern. So branches that begin alike add up, however many of them refer to
one schema. Of all other parts of a schema, only one is open at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from schema_guard import limits
from schema_guard.bounds import NUMBERS
from schema_guard.limits import Limit
from schema_guard.nodes import Fields, Node
from schema_guard.walk import Walk

_KINDS = {
    "string": 1,
    "number": 2,
    "integer": 2,
    "boolean": 4,
    "null": 8,
    "array": 16,
    "object": 32,
}
_OBJECT = _KINDS["object"]
_ANY = 63
_DEPTH = limits.DEPTH.most
_MOST_VALUES = 16
"""The constants that distinguish a branch; one with more is not distinguished."""
_MOST_TEXT = 200
_ANY_VALUE = 4
"""The alternatives that any value counts as, and (less one) a number: measured."""

_Constant = tuple[str, object]


@dataclass(frozen=True, slots=True)
class _Begin:
    """How a value may begin: the kinds of values, as bits, and the first property of an object.

    `name` is None if objects may begin in several ways. `values` are the constants that the
    property may have; None if it may have others.
    """

    kinds: int
    name: str | None = None
    values: frozenset[_Constant] | None = None


class Live:
    """The counts of the nodes of one schema."""

    def __init__(
        self, walk: Walk, same: Iterable[int], order: Sequence[int], merged: Sequence[int]
    ) -> None:
        """Count, and check against the limits.

        In `same` each node comes after the nodes that describe the same value, in `order` after all
        nodes that it leads to. `merged` has, for each node, the optional properties that `allOf`
        gives it.

        Raises SchemaRefused.
        """
        size = len(walk.nodes)
        self._walk = walk
        self._begins = [_Begin(_ANY)] * size
        self.branches = [1] * size
        """What each node has open at once."""
        self._readings = [0] * size
        self._ends = [1] * size
        self._cycles = _cycles(walk)
        self._heights = self._levels(order)
        branches = {each for node in walk.nodes for each in node.same}
        for index in same:
            if index in branches:
                self._begins[index] = self._begin(walk.nodes[index])
        for index in order:
            node = walk.nodes[index]
            if self._cycles and not walk.lenient:
                self._check_cycle(index, node)
            own = 1 if walk.lenient else self._own(index, node, merged[index])
            count = max(own, len(node.any_of), self._most(index, node, self.branches))
            self.branches[index] = self._within(index, limits.LIVE, count)
            if walk.readings:
                count = max(node.readings, self._most(index, node, self._readings))
                self._readings[index] = self._within(index, limits.PATTERN_READINGS, count)

    def _within(self, index: int, limit: Limit, count: int) -> int:
        if count > limit.most:
            what = (
                "alternatives that are open at once, in branches that begin alike and in optional "
                "properties: let each branch begin with a required property of another constant, "
                "or name more properties in 'required'"
                if limit is limits.LIVE
                else "ways to read its patterns in branches that begin alike, which can be read in "
                "too many ways at once: let each branch begin with a required property of another "
                "constant, or ask for the call by tool_choice"
            )
            self._walk.refuse(index, f"has more than {limit.most:,} {what}")
        return count

    def _begin(self, node: Node) -> _Begin:
        """Return how a value begins, by the rules and in the order of llama.cpp's converter."""
        fields = node.fields
        if node.reference >= 0:
            return self._begins[node.reference]
        if node.any_of:
            kinds = 0
            for branch in node.any_of:
                kinds |= self._begins[branch].kinds
            return self._begins[node.any_of[0]] if len(node.any_of) == 1 else _Begin(kinds)
        if (literals := constants(fields)) is not None:
            return _Begin(_kinds_of(literals))
        if not node.types:
            kinds = _KINDS["string"] if fields.get("pattern") is not None else _ANY
            kinds = _KINDS["array"] if "items" in fields or "prefixItems" in fields else kinds
            kinds = _ANY if node.all_of else kinds
            kinds = _OBJECT if fields.get("properties") else kinds
        elif node.all_of:
            kinds = _ANY
        else:
            kinds = 0
            for name in node.types:
                kinds |= _KINDS[name]
        return _Begin(kinds, *_first(fields)) if kinds & _OBJECT else _Begin(kinds)

    def _levels(self, order: Iterable[int]) -> list[int]:
        """Return the levels of the values of each node; of any value, as many as there may be.

        Return an empty list where no node contains itself.
        """
        if not self._cycles:
            return []
        heights = [1] * len(self._walk.nodes)
        for index in order:
            node = self._walk.nodes[index]
            levels = [heights[each] for each in node.same]
            levels += [heights[each] + 1 for each in node.inner]
            anything = not (levels or node.types or constants(node.fields))
            heights[index] = min(max([1, *levels]), _DEPTH) if not anything else _DEPTH
        return heights

    def _own(self, index: int, node: Node, merged: int) -> int:
        """Return the alternatives that a schema has by itself, `merged` of them by `allOf`.

        Each optional property is one. All of them may follow wherever a value may end.
        """
        fields, types = node.fields, node.types
        count = merged
        if "properties" in fields or "additionalProperties" in fields:
            count += len(fields.get("properties", {}).keys() - set(fields.get("required") or ()))
            count += fields.get("additionalProperties") not in (None, False)
        elif "number" in types:
            count += _ANY_VALUE - 1
        elif not (types or node.inner or any(True for _ in node.same) or "pattern" in fields):
            count += _ANY_VALUE * (constants(fields) is None)
        self._ends[index] = node.ends
        if node.any_of:
            ends = [self._ends[each] for each in node.any_of]
            self._ends[index] = _together(self._begins, node.any_of, ends)
        elif node.reference >= 0:
            self._ends[index] = self._ends[node.reference]
        if count and node.inner:
            count *= max([self._ends[each] for each in node.inner])
        return max(alternatives(self._walk, node), count)

    def _most(self, index: int, node: Node, counts: Sequence[int]) -> int:
        """Return the most that is followed at once in the parts of a node."""
        most = max([counts[each] for each in node.inner], default=0)
        if node.reference >= 0:
            most = max(most, counts[node.reference])
        if node.any_of:
            weights = [counts[each] for each in node.any_of]
            cycle = self._cycles[index] if self._cycles else -1
            if cycle >= 0 and any(self._cycles[each] == cycle for each in node.any_of):
                # A branch that ends may still be open on every level of one that does not.
                weights = [
                    count if self._cycles[each] == cycle else count * self._heights[each]
                    for each, count in zip(node.any_of, weights, strict=True)
                ]
            most = max(most, _together(self._begins, node.any_of, weights))
        if node.all_of:  # it makes one object of its parts, and of the branches in them
            merged = sum(
                sum(counts[branch] for branch in self._parts(part).any_of) or counts[part]
                for part in node.all_of
            )
            most = max(most, merged * _copies(node))
        return most

    def _parts(self, index: int) -> Node:
        node = self._walk.nodes[index]
        while node.reference >= 0:
            node = self._walk.nodes[node.reference]
        return node

    def _check_cycle(self, index: int, node: Node) -> None:
        """Refuse a schema that contains itself in branches that begin alike.

        They double with each level of the answer.
        """
        cycle = self._cycles[index]
        if cycle < 0:
            return
        again = [each for each in node.any_of if self._cycles[each] == cycle]
        merged = [
            branch
            for part in node.all_of
            for branch in self._parts(part).any_of
            if self._cycles[branch] == cycle
        ]
        copies = _copies(node) if node.all_of else 1
        if _together(self._begins, again, [1] * len(again)) > 1 or len(merged) > 1 or copies > 1:
            self._walk.refuse(
                index,
                "contains itself in branches that begin alike, so they double with each level: let "
                "each begin with a required property of another constant, or ask for the call by "
                "tool_choice",
            )


def alternatives(walk: Walk, node: Node) -> int:
    """Return the number of alternatives at the place of a schema itself.

    A bounded integer has one more for each digit of its bounds. For llguidance the number is 1,
    because it makes one automaton of all alternatives.
    """
    if walk.lenient:
        return 1
    if "integer" not in node.types:
        return node.alternatives
    return node.alternatives + sum(
        len(str(int(node.bounds[name]))) for name in node.bounds.keys() & NUMBERS
    )


def _copies(node: Node) -> int:
    """Return how often a list of types repeats the object that `allOf` makes."""
    return max(1, len({"string", "object"}.intersection(node.types)))


def _together(begins: Sequence[_Begin], branches: Sequence[int], counts: Sequence[int]) -> int:
    """Return the largest sum of the counts of branches that begin alike."""
    kinds = dict.fromkeys(_KINDS.values(), 0)
    anyhow = 0  # objects that may begin in several ways
    named: dict[str, int] = {}
    valued: dict[str, dict[_Constant, int]] = {}
    for branch, count in zip(branches, counts, strict=True):
        begin = begins[branch]
        for kind in kinds:
            if begin.kinds & kind:
                kinds[kind] += count
        if not begin.kinds & _OBJECT:
            continue
        if begin.name is None:
            anyhow += count
        elif begin.values is None:
            named[begin.name] = named.get(begin.name, 0) + count
        else:
            of = valued.setdefault(begin.name, {})
            for value in begin.values:
                of[value] = of.get(value, 0) + count
    alike = [
        named.get(name, 0) + max(valued.get(name, {}).values(), default=0)
        for name in named.keys() | valued.keys()
    ]
    kinds[_OBJECT] = anyhow + max(alike, default=0)
    return max(kinds.values())


def _first(fields: Fields) -> tuple[str | None, frozenset[_Constant] | None]:
    """Return the first required property of an object, and the constants that it may have."""
    required = set(fields.get("required") or ())
    name = next((name for name in (fields.get("properties") or ()) if name in required), None)
    if name is None:
        return None, None
    value = fields["properties"][name]
    literals = constants(value) if type(value) is dict else None
    if literals is None or len(literals) > _MOST_VALUES or not all(map(_is_short, literals)):
        return name, None
    return name, frozenset((type(each).__name__, each) for each in literals)


def constants(fields: Fields) -> list[Any] | None:
    """Return the only values of a schema; None if it may have others.

    llama.cpp does not read them beside the members that come first here.
    """
    if any(fields.get(name) is not None for name in ("$ref", "anyOf", "oneOf")):
        return None
    if "const" in fields:
        return [fields["const"]]
    values: list[Any] | None = fields.get("enum")
    return values


def _is_short(value: object) -> bool:
    return (
        value is None
        or isinstance(value, int | float)
        or (isinstance(value, str) and len(value) <= _MOST_TEXT)
    )


def _kinds_of(values: Iterable[object]) -> int:
    kinds = 0
    for value in values:
        kinds |= _KINDS[_NAMES.get(type(value), "null")]
    return kinds


_NAMES: dict[type, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}


def _cycles(walk: Walk) -> list[int]:
    """Return, for each node, the number of the cycle that it is in; -1 if it is in none.

    Two nodes of one cycle contain each other. Return an empty list where there are no references,
    and so no cycles.
    """
    if all(node.reference < 0 for node in walk.nodes):
        return []
    following: list[list[int]] = [[*node.same, *node.inner] for node in walk.nodes]
    leading: list[list[int]] = [[] for _ in following]
    for index, nodes in enumerate(following):
        for each in nodes:
            leading[each].append(index)
    ended = [False] * len(following)
    last: list[int] = []
    for start in range(len(following)):
        last += _reached(start, following, ended)
    found = [-1] * len(following)
    seen = [False] * len(following)
    for start in reversed(last):
        cycle = _reached(start, leading, seen)
        if len(cycle) > 1 or start in following[start]:
            for index in cycle:
                found[index] = start
    return found


def _reached(start: int, edges: Sequence[Sequence[int]], seen: list[bool]) -> list[int]:
    """Return the unseen nodes that edges lead to, each after the nodes that it leads to first."""
    if seen[start]:
        return []
    seen[start] = True
    order: list[int] = []
    path = [(start, iter(edges[start]))]
    while path:
        index, rest = path[-1]
        following = next((each for each in rest if not seen[each]), None)
        if following is None:
            order.append(index)
            path.pop()
        else:
            seen[following] = True
            path.append((following, iter(edges[following])))
    return order
