"""One walk over a schema, which checks every member once and counts the whole schema.

The walk makes a node for each schema within the schema. A node has edges to the schemas that it
contains or refers to. `graph` checks the nodes afterwards.
"""

import re
from collections import Counter
from typing import Any, NoReturn
from urllib.parse import unquote

from schema_guard import limits
from schema_guard.bounds import (
    COUNTS,
    NUMBERS,
    count_fault,
    multiple_fault,
    number_fault,
    out_of_range,
)
from schema_guard.errors import SchemaRefused, Step, shown
from schema_guard.limits import Limit
from schema_guard.nodes import Node, Totals
from schema_guard.pattern import PatternRefused

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE = frozenset({"items"})
OR_BOOLEAN = frozenset(
    {
        "additionalProperties",
        "additionalItems",
        "unevaluatedProperties",
        "unevaluatedItems",
        "contains",
        "propertyNames",
        "contentSchema",
        "not",
        "if",
        "then",
        "else",
    }
)
"""Members that may be true or false: `additionalProperties`, and those that llama.cpp ignores."""
_OTHERS = re.compile("[^a-zA-Z0-9-]+")
_TEXTS = frozenset({"enum", "const"})
_REMARKS = frozenset({"title", "description", "default", "examples", "example", "$comment"})
_NULLABLE = frozenset(
    {
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "required",
        "type",
        "enum",
        "pattern",
        "format",
        "$ref",
    }
    | {"multipleOf", "items", "prefixItems", "allOf", "anyOf", "oneOf"}
    | OR_BOOLEAN
    | COUNTS.keys()
    | NUMBERS
)
"""Members that may be null if the check is lenient: they count as missing."""


class Walk:
    """The nodes of one schema; the first is the schema itself."""

    def __init__(self, place: tuple[Step, ...], schema: Any, totals: Totals) -> None:
        """Walk over `schema`, whose place in the request is `place`.

        Raises SchemaRefused for a wrong member or an exceeded limit.
        """
        self.nodes: list[Node] = []
        self.lenient = totals.lenient
        self.readings = False  # whether a pattern has more than one way to be read
        self._place = place
        self._totals = totals
        self._rules: dict[str, int] = {}
        self._by_id: dict[int, int] = {}
        self._todo: list[int] = []
        self._references: list[int] = []
        self._schema(-1, (), schema)
        while self._todo or self._references:
            if self._todo:
                self._members(self._todo.pop())
            else:
                self._resolve(self._references.pop())

    def refuse(self, index: int, reason: str, *more: Step) -> NoReturn:
        """Raise SchemaRefused for a member. `more` are the steps to it from a node."""
        steps = list(reversed(more))
        while index >= 0:
            steps += reversed(self.nodes[index].steps)
            index = self.nodes[index].parent
        raise SchemaRefused([*self._place, *reversed(steps)], reason)

    def _too_deep(self) -> NoReturn:
        self.refuse(
            -1,
            (
                f"has more than {limits.DEPTH.most} {limits.DEPTH.counts}: refer to $defs, or "
                "make it flatter"
            ),
        )

    def _count(self, index: int, limit: Limit, count: int, *more: Step) -> None:
        if not self._totals.add(limit, count):
            self.refuse(
                index,
                f"has more than {limit.most:,} {limit.counts}: reduce it, or split the request",
                *more,
            )

    def _schema(self, parent: int, steps: tuple[Step, ...], value: Any) -> int:
        """Make a node of a schema, to be visited later, and return its index."""
        if type(value) is bool and self.lenient:
            value = {}
        if type(value) is not dict:
            hint = ": write {} for any value" if value is True else ""
            self.refuse(
                parent, f"must be a schema, which is an object, not {shown(value)}{hint}", *steps
            )
        depth, names = (
            (0, 0) if parent < 0 else (self.nodes[parent].depth, self.nodes[parent].names)
        )
        depth += max(1, len(steps))
        if depth > limits.DEPTH.most:
            self._too_deep()
        names += sum(len(step) if isinstance(step, str) else 4 for step in steps)
        index = len(self.nodes)
        rule = (
            f"{self.nodes[parent].rule}-{_OTHERS.sub('-', str(steps[-1]))}" if parent >= 0 else ""
        )
        self.nodes.append(Node(parent, steps, value, depth, names, rule))
        self._by_id[id(value)] = index
        self._count(index, limits.VALUES, 1 + len(value))
        self._count(index, limits.GUIDING, 1 + sum(name not in _REMARKS for name in value))
        self._count(index, limits.SCHEMAS, 1)
        self._count(index, limits.NAMES, names)
        self._rules[rule] = clashes = self._rules.get(rule, -1) + 1
        self._count(index, limits.COLLISIONS, clashes)
        self._todo.append(index)
        return index

    def _members(self, index: int) -> None:
        node = self.nodes[index]
        for name, value in node.fields.items():
            if value is None and self.lenient and name in _NULLABLE:
                continue
            if name in _NAMED:
                self._named(index, name, value)
            elif name in _LISTS or (name in _SINGLE and type(value) is list):
                self._list(index, name, value)
            elif name in _SINGLE or (name in OR_BOOLEAN and type(value) is not bool):
                node.inner.append(self._schema(index, (name,), value))
            elif name in COUNTS:
                fault = count_fault(name, value, lenient=self.lenient)
                self._bound(index, name, value, fault)
                node.bounds[name] = min(value, COUNTS[name].most)
            elif name in NUMBERS:
                self._bound(index, name, value, number_fault(value))
            elif name == "multipleOf":
                if (fault := multiple_fault(value)) is not None:
                    self.refuse(index, fault, name)
            elif (look := _LOOKS.get(name)) is not None:
                look(self, index, value)
            else:
                self._data(index, name, value)
        properties = node.fields.get("properties") or {}
        if not self.lenient and node.fields.get("additionalProperties") not in (None, False):
            for name in properties:
                if "\\" in name or "]" in name:  # llama.cpp puts such a name into brackets as it is
                    self.refuse(
                        index,
                        "has '\\' or ']', which cannot stand beside additionalProperties",
                        "properties",
                        name,
                    )
        required = set(node.fields.get("required") or ())
        optional = properties.keys() - required
        clashing = max(Counter(_OTHERS.sub("-", name) for name in optional).values(), default=0)
        if clashing > 1:
            self._count(index, limits.COLLISIONS, clashing * len(optional) ** 2, "properties")
        if len(optional) > limits.OPTIONAL.most:
            most = limits.OPTIONAL
            self.refuse(
                index,
                f"has more than {most.most} {most.counts}: name more of them in 'required'",
                "properties",
            )

    def _named(self, index: int, name: str, value: Any) -> None:
        if type(value) is not dict:
            self.refuse(
                index,
                f"must be an object, not {shown(value)}: leave it out where there is none",
                name,
            )
        self._count(index, limits.VALUES, len(value), name)
        if name == "properties":
            self._count(index, limits.PROPERTIES, len(value), name)
        for key, inner in value.items():
            self._count(index, limits.TEXT, len(key), name)
            if name == "patternProperties":
                self._pattern(index, key, name)
            child = self._schema(index, (name, key), inner)
            if name not in ("$defs", "definitions"):
                self.nodes[index].inner.append(child)

    def _list(self, index: int, name: str, value: Any) -> None:
        if type(value) is not list:
            self.refuse(index, f"must be a list of schemas, not {shown(value)}", name)
        if not value and name not in ("items", "prefixItems"):
            self.refuse(index, "must not be empty: leave it out", name)
        node = self.nodes[index]
        to = {"allOf": node.all_of, "anyOf": node.any_of, "oneOf": node.any_of}.get(
            name, node.inner
        )
        self._count(index, limits.VALUES, len(value), name)
        to += [self._schema(index, (name, number), inner) for number, inner in enumerate(value)]

    def _bound(self, index: int, name: str, value: Any, fault: str | None) -> None:
        if fault is not None:
            self.refuse(index, fault, name)
        self.nodes[index].bounds[name] = value

    def _type(self, index: int, value: Any) -> None:
        given = value if type(value) is list else [value]
        for name in given:
            if type(name) is not str or name not in _TYPES:
                known = ", ".join(sorted(_TYPES))
                self.refuse(index, f"{shown(name)} is not a type: the types are {known}", "type")
        if len(set(given)) < len(given) or not given:
            self.refuse(index, "must name each type once, and at least one", "type")
        self.nodes[index].alternatives += len(given) - 1

    def _enum(self, index: int, value: Any) -> None:
        if type(value) is not list or not value:
            self.refuse(index, f"must be a list of at least one value, not {shown(value)}", "enum")
        self.nodes[index].alternatives += len(value) - 1
        self._count(index, limits.ENUM_VALUES, len(value), "enum")
        self._data(index, "enum", value)

    def _const(self, index: int, value: Any) -> None:
        self._data(index, "const", value)

    def _required(self, index: int, value: Any) -> None:
        if value is None:  # some clients send null if there are no names
            return
        if type(value) is not list or any(type(name) is not str for name in value):
            self.refuse(index, "must be a list of names of properties", "required")
        self._count(index, limits.VALUES, len(value), "required")
        self._count(index, limits.GUIDING, len(value), "required")
        self._count(index, limits.TEXT, sum(map(len, value)), "required")

    def _format(self, index: int, value: Any) -> None:
        if type(value) is not str or len(value) > 100:
            self.refuse(index, f"must be a short string, not {shown(value)}", "format")

    def _pattern(self, index: int, value: Any, *more: Step) -> None:
        if type(value) is not str:
            self.refuse(index, f"must be a string, not {shown(value)}", *(more or ("pattern",)))
        self._count(index, limits.PATTERNS, 1, *(more or ("pattern",)))
        try:
            cost, new = self._totals.pattern(value)
        except PatternRefused as refusal:
            self.refuse(index, f"the pattern {shown(value)} {refusal}", *(more or ("pattern",)))
        if new:
            count = cost.transitions
            self._count(index, limits.PATTERN_TRANSITIONS, count, *(more or ("pattern",)))
        if cost.readings > limits.PATTERN_READINGS.most:
            self.refuse(
                index,
                f"the pattern {shown(value)} can be read in too many ways at once: let each "
                "round of a repetition, and "
                "what follows it, begin with another character, or ask for the call by tool_choice",
                *(more or ("pattern",)),
            )
        if not more:
            self._count(index, limits.TEXT, len(value), "pattern")
            self.nodes[index].readings, self.nodes[index].ends = cost.readings, cost.ends
            self.readings |= cost.readings > 0

    def _reference(self, index: int, value: Any) -> None:
        if type(value) is not str or not (
            value.startswith("#/") or (value == "#" and self.lenient)
        ):
            self.refuse(
                index,
                f"{shown(value)} is not a reference into this schema: name the schema below $defs, "
                "and refer to it as '#/$defs/NAME'",
                "$ref",
            )
        self._count(index, limits.TEXT, len(value), "$ref")
        self._references.append(index)

    def _resolve(self, index: int) -> None:
        reference: str = self.nodes[index].fields["$ref"]
        found: Any = self.nodes[0].fields
        steps: list[Step] = []
        for part in reference[2:].split("/") if reference != "#" else ():
            if self.lenient and type(found) is dict and part not in found:
                # Try the name without the escapes of URIs and JSON pointers.
                part = unquote(part).replace("~1", "/").replace("~0", "~")
            if type(found) is dict and part in found:
                steps.append(part)
                found = found[part]
            elif (
                type(found) is list
                and part.isascii()
                and part.isdigit()
                and int(part[:9]) < len(found)
            ):
                steps.append(int(part[:9]))
                found = found[int(part[:9])]
            else:
                self.refuse(index, f"{shown(reference)} does not exist in this schema", "$ref")
        if type(found) is not dict:
            self.refuse(
                index, f"{shown(reference)} leads to no schema, but to {shown(found)}", "$ref"
            )
        known = self._by_id.get(id(found))
        self.nodes[index].reference = (
            self._schema(0, tuple(steps), found) if known is None else known
        )

    def _data(self, index: int, name: str, value: Any) -> None:
        """Check a value that is not a schema: its size, its depth and the range of its numbers."""
        level, text, depth = [value], 0, self.nodes[index].depth
        while level:
            self._count(index, limits.VALUES, len(level), name)
            self._count(index, limits.GUIDING, 0 if name in _REMARKS else len(level), name)
            inner: list[Any] = []
            for item in level:
                if type(item) is str:
                    text += len(item)
                elif type(item) is dict:
                    text += sum(map(len, item))
                    inner += item.values()
                elif type(item) is list:
                    inner += item
                elif isinstance(item, (int, float)) and (fault := out_of_range(item)) is not None:
                    self.refuse(index, f"a number in it {fault}", name)
            level, depth = inner, depth + 1
            if inner and depth > limits.DEPTH.most:
                self._too_deep()
        if name in _TEXTS:
            self._count(index, limits.TEXT, text, name)


_LOOKS = {
    "type": Walk._type,  # noqa: SLF001 - its own table
    "enum": Walk._enum,  # noqa: SLF001
    "const": Walk._const,  # noqa: SLF001
    "required": Walk._required,  # noqa: SLF001
    "format": Walk._format,  # noqa: SLF001
    "pattern": Walk._pattern,  # noqa: SLF001
    "$ref": Walk._reference,  # noqa: SLF001
}
