"""Hostile values for the members of a JSON schema, such as OpenAPI documents have.

`right` are values that a schema allows, at its edges. `WRONG` are values that few schemas allow:
other types, numbers beyond any type, half characters, deep nesting. All are made in the same order
in each process. `msgspec.Raw` stands for JSON that no Python value is written as.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Raw

Schema = Mapping[str, Any]
Place = tuple[str | int, ...]

DEEP_ARRAY = Raw(b"[" * 500 + b"]" * 500)
DEEP_OBJECT = Raw(b'{"a":' * 300 + b"1" + b"}" * 300)
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 2**63, "", "x", "-1", "1", "true", "null", "x" * 5000),
    *map(
        Raw,
        (
            *(b"1e400", b"-1e400", b"-0.0", b"1e308", b"5e-324", b"1.0", b"1e2", b"1E+2"),
            *(b"18446744073709551616", b"-9223372036854775809", b"9" * 5000),
            *(b"NaN", b"Infinity", b"01", b"+1", b"", b"'x'", b'"\xff"', b'{"a":1e400}'),
            *(rb'"\ud800"', rb'"\udc00x"', rb'"\u0000"', rb'{"\u0000":1}', rb'{"\ud800":1}'),
            *(b'{"a":1,"a":[]}', b'{"type":"text","type":"image_url"}', b"[1e400]"),
        ),
    ),
    # two forms of one letter, a full-width one, one that changes the direction, half an emoji
    *("e\u0301", "\u00e9", "\uff21", "\u202e", "\U0001f468\u200d"),
    *([], {}, [[]], [{}], [None], ["x"], [1], [True], {"a": 1}, {"": ""}, {"id": 1}),
    *({"type": "x"}, {"type": None}, {"type": []}, DEEP_ARRAY, DEEP_OBJECT),
)
ANYTHING: tuple[Any, ...] = (
    *({}, [], "x", 0, 1, True, False, 1.5, None, {"a": 1}, [{}], ["a"], "", "none", "auto"),
    *(Raw(b"1e400"), Raw(b"9" * 400), [[[]]]),
)
"""What a member without a type may be."""
SCHEMAS: tuple[Any, ...] = (
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    {"a": {"b": [None]}},
    *({"$ref": "#"}, {"$ref": "#/a/b"}, {"$ref": 1}, {"type": 1}, {"type": {}}, {"": {}}),
    *({"enum": []}, {"enum": "x"}, {"properties": []}, {"properties": {"a": 1}}, {"items": []}),
    *({"pattern": "("}, {"type": ["string", "null"]}, {"anyOf": {}}, {"const": Raw(b"1e400")}),
    *({"minimum": "a"}, {"type": "array", "minItems": -1}, {"$defs": []}, {"required": "a"}),
    *({"type": "string", "maxLength": Raw(b"9" * 50)}, {"additionalProperties": "x"}),
    {"format": 1},
)
"""What an object without members of its own may be: JSON schemas, most of them wrong."""
_DEPTH = 6
_SAMPLES = 12


class Values:
    """The values of the schemas of one document."""

    def __init__(self, components: Schema) -> None:
        """Take the schemas that others refer to."""
        self._components = components

    def right(self, schema: Schema, depth: int = 0) -> Iterator[Any]:
        """Yield values that a schema allows, the plainest one first, and some of its edges."""
        for each in self._alternatives(schema):
            if "const" in each:
                yield each["const"]
            elif "enum" in each:
                yield from each["enum"]
            else:
                yield from self._of_type(each, depth)

    def members(self, schema: Schema) -> Mapping[str, Schema]:
        """Return the members of an object."""
        found: dict[str, Schema] = {}
        for each in self._alternatives(schema):
            found |= each.get("properties", {})
        return found

    def least(self, schema: Schema, depth: int = 0) -> Any:
        """Return the plainest value that a schema allows."""
        return next(self.right(schema, depth), None) if depth <= _DEPTH else None

    def _alternatives(self, schema: Schema) -> Iterator[Schema]:
        while "$ref" in schema:
            schema = self._components[schema["$ref"].rpartition("/")[2]]
        choices = schema.get("anyOf", schema.get("oneOf"))
        if choices is None:
            yield schema
        else:
            for each in choices:
                yield from self._alternatives(each)

    def _of_type(self, schema: Schema, depth: int) -> Iterator[Any]:
        match schema.get("type"):
            case "string":
                yield from _texts(schema)
            case "integer":
                yield from _numbers(schema, 2**63, b"1.0", b"1e0", b"-0")
            case "number":
                yield from _numbers(schema, 1e308, b"0.1", b"5e-324", b"-0.0")
            case "boolean":
                yield from (True, False)
            case "null":
                yield None
            case "array":
                yield from self._arrays(schema, depth)
            case "object":
                yield from self._objects(schema, depth)
            case _:
                yield from ANYTHING

    def _arrays(self, schema: Schema, depth: int) -> Iterator[Any]:
        fewest = schema.get("minItems", 0)
        items: list[Any] = []
        if depth < _DEPTH:
            found = self.right(schema.get("items") or {}, depth + 1)
            items = list(itertools.islice(found, _SAMPLES))
        for item in items:
            yield [item] * max(fewest, 1)
        if items:
            yield [items[0], items[-1]]
            yield [items[0]] * 3
        if not fewest:
            yield []

    def _objects(self, schema: Schema, depth: int) -> Iterator[Any]:
        members = schema.get("properties")
        if members:
            base = {
                name: self.least(members[name], depth + 1) for name in schema.get("required", ())
            }
            yield base
            if depth < _DEPTH - 2:
                for name, member in members.items():
                    for value in itertools.islice(self.right(member, depth + 1), _SAMPLES // 2):
                        yield {**base, name: value}
            return
        yield {}
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            for value in itertools.islice(self.right(others, depth + 1), _SAMPLES // 2):
                yield {"1": value}
                yield {"a": value}
        else:
            yield from SCHEMAS


def _texts(schema: Schema) -> Iterator[Any]:
    pattern, shortest = schema.get("pattern"), schema.get("minLength", 0)
    if pattern is not None:
        known = {"https?": "https://example.com/x", "[0-9]{1,9}": "1"}
        yield next(
            (text for part, text in known.items() if part in pattern), "a" * max(shortest, 1)
        )
        return
    yield from ("x" * max(shortest, 1), "x" * shortest, "\u0301\u200d\U0001f468", " \n")
    longest = schema.get("maxLength", 10**6)
    if longest < 5000:
        yield "x" * longest


def _numbers(schema: Schema, bound: float, *written: bytes) -> Iterator[Any]:
    lowest = schema.get("minimum", schema.get("exclusiveMinimum", -bound))
    highest = schema.get("maximum", bound)
    yield from (max(lowest, min(highest, 1)), lowest, highest)
    yield from map(Raw, written)
    if lowest <= 0 <= highest:
        yield 0


def places(value: Any, before: Place = ()) -> Iterator[Place]:
    """Yield the places of all values in a value, of a list those of the first two only."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value[:2])
    for key, inner in items:
        yield (*before, key)
        yield from places(inner, (*before, key))


def put(value: Any, place: Place, other: Any) -> Any:
    """Return a value with another one at a place."""
    if not place:
        return other
    key, *rest = place
    inner = put(value[key], tuple(rest), other)
    if isinstance(value, dict):
        return {**value, key: inner}
    return [inner if number == key else it for number, it in enumerate(value)]
