"""The results of a walk over a schema: its nodes, and counts over all schemas of a request."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schema_guard.bounds import Bounds
from schema_guard.errors import Step
from schema_guard.limits import Limit
from schema_guard.pattern import Cost, check_pattern

Fields = dict[str, Any]


class Totals:
    """The counts over all schemas of one request."""

    def __init__(self, *, lenient: bool) -> None:
        """Start all counts at zero.

        `lenient` is true for llguidance, which accepts more than llama.cpp's converter.
        """
        self.lenient = lenient
        self._counts: dict[str, int] = {}
        self._patterns: dict[str, Cost] = {}

    def add(self, limit: Limit, count: int = 1) -> bool:
        """Add to a count; return whether the limit still holds."""
        total = self._counts[limit.counts] = self._counts.get(limit.counts, 0) + count
        return total <= limit.most

    def pattern(self, pattern: str) -> tuple[Cost, bool]:
        """Check a pattern. Return its cost, and whether it is new in this request.

        Raises PatternRefused.
        """
        known = self._patterns.get(pattern)
        if known is not None:
            return known, False
        cost = self._patterns[pattern] = check_pattern(pattern, lenient=self.lenient)
        return cost, True


@dataclass(slots=True)
class Node:
    """A schema within the schema: its place, its own members, and the nodes that it leads to."""

    parent: int
    steps: tuple[Step, ...]
    fields: Fields
    depth: int
    names: int
    rule: str
    bounds: Bounds = field(default_factory=dict)
    alternatives: int = 1
    readings: int = 0  # of its pattern
    ends: int = 1  # of its pattern
    reference: int = -1
    all_of: list[int] = field(default_factory=list)
    any_of: list[int] = field(default_factory=list)
    inner: list[int] = field(default_factory=list)

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the types that the schema allows; empty if it has no `type`."""
        given = self.fields.get("type") or ()
        return (given,) if isinstance(given, str) else tuple(given)

    @property
    def same(self) -> Iterator[int]:
        """The nodes that describe the same value: alternatives, parts and the node of `$ref`."""
        yield from self.any_of
        yield from self.all_of
        if self.reference >= 0:
            yield self.reference
