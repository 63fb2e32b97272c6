"""What llama.cpp follows at once: branches that begin alike, and what each of them contains."""

import bisect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from schema_guard import SchemaRefused, check
from tests.schema_guard.converter import Converter, converter
from tests.schema_guard.usual import DATE, EMAIL, STRING, USUAL, UUID

READ = {"type": "string", "pattern": "^([a-z]{1,2}){1,40}$"}
"""Two of it at once are more than is accepted."""
P: dict[str, Any] = {"$ref": "#/$defs/p"}
N: dict[str, Any] = {"$ref": "#/$defs/n"}
TYPES = ("string", "null", "boolean", "number", "array", "object")
ADDRESS = r"^((25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)$"
HOST = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


def closed(**properties: Any) -> dict[str, Any]:
    """Return an object that must have all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def within(value: Any, **named: Any) -> dict[str, Any]:
    """Return parameters of one argument, with definitions."""
    return {**closed(a=value), "$defs": {"p": READ, **named}}


def union(count: int, branch: Callable[[int], Any], **named: Any) -> dict[str, Any]:
    """Return parameters of one argument that is one of many branches."""
    return within({"anyOf": [branch(number) for number in range(count)]}, **named)


def after(value: Any) -> Callable[[int], dict[str, Any]]:
    """Return branches that differ only after a value."""
    return lambda number: closed(k=value, **{f"z{number}": {}})


LETTERS = {f"p{number}": {"type": "null"} for number in range(200)}
DIGITS = {"type": "integer", "minimum": -99, "maximum": 987_654_321}
TEXTS = {"enum": [f"text {number:03d}" for number in range(400)]}
MANY: dict[str, dict[str, Any]] = {
    "a pattern behind a reference": union(60, after(P)),
    "the same without 'type'": {"$defs": {"p": READ}, "properties": {"a": {"anyOf": [{"properties": {"k": P, str(number): {}}, "required": ["k", str(number)]} for number in range(60)]}}},
    "in oneOf": within({"oneOf": [after(P)(number) for number in range(60)]}),
    "behind two references": union(60, lambda number: {"$ref": f"#/$defs/d{number}"}, **{f"d{number}": {"$ref": f"#/$defs/e{number}", "type": list(types)} for number, types in zip(range(60), itertools.permutations(TYPES, 3), strict=False)}, **{f"e{number}": after(P)(number) for number in range(60)}),
    "a constant beside a reference": union(60, lambda number: closed(k={**P, "const": number})),
    "a constant beside anyOf": union(60, lambda number: closed(k={"anyOf": [P], "const": number})),
    "constants that overlap": union(60, lambda number: closed(t={"enum": [number, "x"]}, k=P)),
    "lists of types": union(60, lambda number: {**READ, "type": ["string", *list(itertools.permutations(TYPES[1:]))[number]]}),
    "no types": union(60, lambda number: {"pattern": READ["pattern"], "title": str(number)}),
    "in arrays": union(60, lambda number: {"type": "array", "items": P, "minItems": number}),
    "in tuples": union(60, lambda number: {"prefixItems": [P, {"const": number}]}),
    "in further properties": union(60, lambda number: {"properties": {str(number): {}}, "additionalProperties": P}),
    "in optional properties": union(60, lambda number: {"properties": {"k": P, str(number): {}}}),
    "in allOf": union(60, lambda number: {"allOf": [closed(k=P), closed(**{str(number): {}})]}),
    "merged by allOf": within({"allOf": [{"anyOf": [closed(k=P)] * 60}]}),
    "a union in a union": union(8, after({"$ref": "#/$defs/u"}), u={"anyOf": [after(P)(number) for number in range(8)]}),
    "two readings": union(2, after(P)),
    "optional properties": union(50, after({"$ref": "#/$defs/o"}), o={"properties": LETTERS}),
    "an enum": union(50, after({"$ref": "#/$defs/o"}), o=TEXTS),
    "bounded integers": union(200, after({"$ref": "#/$defs/o"}), o=DIGITS),
    "what may follow a pattern": within({"properties": {f"p{number}": P for number in range(60)}}),
    "what may follow a union": within({"properties": {"u": {"anyOf": [{"type": "array", "items": {}, "minItems": number} for number in range(40)]}, **dict(list(LETTERS.items())[:150])}}),
    "any value in unions": union(30, after({"$ref": "#/$defs/u"}), u={"anyOf": [after({})(number) for number in range(30)]}),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
def test_branches_that_begin_alike_add_up(name: str) -> None:
    """What many branches share counts in each of them, and the refusal names the place."""
    with pytest.raises(SchemaRefused, match="begin alike") as refusal:
        check([(("s",), MANY[name])])
    assert refusal.value.path.startswith("s.")
    check([(("s",), MANY[name])], by="llguidance")


AGAIN: dict[str, Any] = {
    "arrays": {"anyOf": [{"type": "array", "items": N}, {"type": "array", "items": N, "minItems": 1}, STRING]},
    "objects": {"oneOf": [closed(left=N, is_one={"const": number}) for number in range(2)]},
    "through others": {"anyOf": [{"$ref": "#/$defs/x"}, {"items": N, "maxItems": 9}]},
    "allOf": {"allOf": [{"anyOf": [{"properties": {"k": N}}, {"properties": {"k": N}}]}]},
    "types": {"type": ["object", "string"], "allOf": [closed(k=N)]},
}  # fmt: skip


@pytest.mark.parametrize("name", AGAIN)
def test_recursion_that_doubles(name: str) -> None:
    """A schema that contains itself in two branches that begin alike is rejected.

    Nine brackets took llama.cpp half a minute.
    """
    schema = within(N, n=AGAIN[name], x={"type": "array", "items": N})
    with pytest.raises(SchemaRefused, match="double with each level"):
        check([(("s",), schema)])
    check([(("s",), schema)], by="llguidance")


def test_branches_of_each_level() -> None:
    """What stands beside a recursion may be open on every level, as deep as it goes."""
    deep: dict[str, Any] = STRING
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    beside = [{"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": n} for n in range(99)]
    with pytest.raises(SchemaRefused, match="begin alike"):
        check([(("s",), within(N, n={"anyOf": [{"type": "array", "items": N}, *beside]}, x=deep))])


OPTIONAL = {f"f{number}": {"anyOf": [STRING, {"type": "null"}]} for number in range(15)}
LEAF = closed(id={"type": "string", "format": "uuid"}, ip={"type": "string", "pattern": ADDRESS})
TAKEN: dict[str, dict[str, Any]] = {
    "40 kinds of objects": union(40, lambda number: {"$ref": f"#/$defs/m{number}"}, leaf=LEAF, **{f"m{number}": {"type": "object", "properties": {"type": {"const": f"t{number}"}, "leaf": {"$ref": "#/$defs/leaf"}, **OPTIONAL}, "required": ["type", "leaf"]} for number in range(40)}),
    "30 objects without a kind": union(30, lambda number: {"type": "object", "properties": {**OPTIONAL, "id": STRING, f"x{number}": {}}, "required": ["id"]}),
    "addresses without a kind": union(15, lambda number: closed(ip={"type": "string", "pattern": ADDRESS}, **{f"x{number}": {}})),
    "any JSON": within(N, n={"anyOf": [STRING, *({"type": name} for name in ("number", "boolean", "null")), {"type": "array", "items": N}, {"type": "object", "additionalProperties": N}]}),
    "a tree": within(N, n={"type": "object", "properties": {"value": STRING, "children": {"type": "array", "items": N}}, "required": ["value"]}),
    "expressions": within(N, n={"oneOf": [closed(op={"const": name}, args={"type": "array", "items": N}) for name in ("and", "or")] + [closed(op={"enum": ["eq", "lt"]}, field=STRING, value={})]}),
    "expressions by name": within(N, n={"anyOf": [closed(**{name: {"type": "array", "items": N}}) for name in ("all", "any")] + [closed(no=N), closed(field=STRING, value=STRING)]}),
    "addresses among optional properties": within({"properties": {f"x{number}": {"type": "string", "pattern": text} for number in range(50) for text in [(ADDRESS, HOST, EMAIL, DATE)[number % 4]]}}),
    "a node that may miss": within(N, n=closed(value=STRING, left={"anyOf": [N, {"type": "null"}]}, right={"anyOf": [N, {"type": "null"}]})),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_usual_unions_are_accepted(name: str) -> None:
    """Unions and recursion as pydantic and OpenAPI have them are accepted."""
    check([(("s",), TAKEN[name])])


def test_many_usual_tools_are_accepted() -> None:
    """A request may have 60 tools whose arguments have patterns."""
    patterns = {
        name: {"type": "string", "pattern": text}
        for name, text in [("id", UUID), ("mail", EMAIL), ("day", DATE), ("host", HOST)]
    }
    tool = closed(**patterns, ip={"type": "string", "pattern": ADDRESS}, of=STRING)
    check([(("tools", number), tool) for number in range(60)])
    check([(("tools", name), schema) for name, schema in USUAL.items()])


@pytest.fixture(scope="module")
def engine() -> Iterator[Converter]:
    """Yield llama.cpp in a process with little memory."""
    with converter() as child:
        yield child


LARGEST: dict[str, Callable[[int], dict[str, Any]]] = {
    "patterns": lambda count: union(
        count, after({"type": "string", "pattern": "^([a-z]{1,2}){1,9}$"})
    ),
    "any values": lambda count: union(count, after({})),
    "integers": lambda count: union(count, after(DIGITS)),
    "optional properties": lambda count: union(count, after({"properties": LETTERS})),
    "arrays of integers": lambda count: union(
        count, lambda number: {"type": "array", "items": DIGITS, "minItems": number}
    ),
}


@pytest.mark.parametrize("name", LARGEST)
def test_steps_of_the_largest(engine: Converter, name: str) -> None:
    """A step of the largest accepted schema takes well under a second of CPU time."""
    made = LARGEST[name]
    count = bisect.bisect(range(1, 500), 0, key=lambda number: not is_accepted(made(number)))
    assert count > 1
    assert engine.call(made(count)) < 1


def is_accepted(schema: Any) -> bool:
    """Return whether the check accepts a schema."""
    try:
        check([(("s",), schema)])
    except SchemaRefused:
        return False
    return True


STRINGS = {"type": "array", "items": STRING}
BY_VOCABULARY: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
    "constants": (lambda count: closed(a={"enum": [f"v{it}" for it in range(count)]}), 2**26),
    "constants in anyOf": (lambda count: union(count, lambda it: {"const": it}), 2**26),
    "optional properties": (
        lambda count: {"type": "object", "properties": {f"p{it}": STRING for it in range(count)}},
        2**26,
    ),
    "arrays": (lambda count: union(count, lambda it: {**STRINGS, "maxItems": it + 1}), 2**24),
    "arrays behind references": (
        lambda count: union(count, lambda it: {"$ref": "#/$defs/s", "title": str(it)}, s=STRINGS),
        2**24,
    ),
    "nested branches": (
        lambda count: union(
            2, lambda it: {"anyOf": [STRINGS] * (count - count // 2 if it else count // 2)}
        ),
        2**24,
    ),
}


@pytest.mark.parametrize(("made", "most"), BY_VOCABULARY.values(), ids=BY_VOCABULARY)
def test_a_large_vocabulary_allows_fewer(made: Callable[[int], dict[str, Any]], most: int) -> None:
    """What is open at once times the tokens of the vocabulary is limited, for llama.cpp only."""
    tokens = 2**20
    count = most // tokens
    check([((), made(count))], tokens=tokens)
    with pytest.raises(SchemaRefused, match=r"vocabulary has 1,048,576 tokens"):
        check([((), made(count + 1))], tokens=tokens)
    check([((), made(count + 1))], by="llguidance", tokens=tokens)
    check([((), made(count + 1))], tokens=2048)
    check([((), made(count + 1))])
