"""The check of schemas before an engine gets them.

The tests cover what is rejected, what is accepted, and the cost of the check.
"""

import contextlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from schema_guard import SchemaRefused, check, limits
from schema_guard.pattern import _Parser
from schema_guard.readings import TOKEN, Automaton, Node
from tests.schema_guard.converter import SECONDS, Converter, converter
from tests.schema_guard.hostile import json_values, schemas
from tests.schema_guard.usual import USUAL

DOCUMENT = Path(__file__).parents[2] / "docs/reference/api.md"
STRING = {"type": "string"}
ENGINES: "tuple[Any, ...]" = ("llama.cpp", "llguidance")


def pattern(text: str) -> dict[str, Any]:
    """Return a string of a pattern."""
    return {"type": "string", "pattern": text}


def nested(levels: int, **fields: Any) -> dict[str, Any]:
    """Return arrays within arrays."""
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema, **fields}
    return schema


def defs(root: str, **named: Any) -> dict[str, Any]:
    """Return a schema that refers to one of its definitions."""
    return {"$ref": f"#/$defs/{root}", "$defs": named}


def names(count: int) -> dict[str, Any]:
    """Return this many properties."""
    return {f"p{number}": STRING for number in range(count)}


def clashing(count: int) -> dict[str, Any]:
    """Return properties whose names llama.cpp cannot distinguish."""
    return {chr(0x4E00 + number): STRING for number in range(count)}


REFUSED: dict[str, tuple[Any, str]] = {
    **{
        f"{low} over {high}": ({low: 5, high: 2}, f"s.{low}")
        for low, high in [
            *((f"min{count}", f"max{count}") for count in ("Items", "Length", "Properties", "Contains")),
            *itertools.product(("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")),
        ]
    },
    **{f"minItems {value!r:.20}": ({"minItems": value}, "s.minItems") for value in (-1, 1e9, 5.0, True, None, "5", 2**31, 10**4000)},
    "exclusive bounds that are equal": ({"minimum": 3, "exclusiveMaximum": 3}, "s.minimum"),
    "no integer between": ({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 6}, "s.exclusiveMinimum"),
    "no integer between fractions": ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, "s.minimum"),
    "a pair through allOf": ({"allOf": [{"minItems": 5}, {"maxItems": 2}]}, "s"),
    "a pair beside $ref": ({"$ref": "#/$defs/a", "minLength": 5, "$defs": {"a": {"maxLength": 2}}}, "s.minLength"),
    "an integer of 16 digits without maximum": ({"type": "integer", "minimum": 2 * 10**15}, "s.minimum"),
    "its negative": ({"type": ["integer", "null"], "maximum": -(10**17)}, "s.maximum"),
    "the same beside the smallest integer": ({"type": "integer", "minimum": -(2**63), "maximum": -(10**17)}, "s.maximum"),
    "a bound over 64 bits": ({"type": "integer", "minimum": 2**64}, "s.minimum"),
    "a bound without end": ({"maximum": float("inf")}, "s.maximum"),
    "a draft-4 bound": ({"minimum": 1, "exclusiveMinimum": True}, "s.exclusiveMinimum"),
    "not a number in a constant": ({"const": [float("nan")]}, "s.const"),
    "5,000 digits in an enum": ({"enum": [10**5000]}, "s.enum"),
    "doublings": (defs("d20", d0=STRING, **{f"d{n + 1}": {"properties": {"a": {"$ref": f"#/$defs/d{n}"}, "b": {"$ref": f"#/$defs/d{n}"}}} for n in range(20)}), "s.$defs.d15"),
    "doublings of alternatives": (defs("d20", d0=STRING, **{f"d{n + 1}": {"anyOf": [{"$ref": f"#/$defs/d{n}"}] * 2} for n in range(20)}), "s.$defs.d9"),
    "a product of repetitions": (nested(3, maxItems=1000), "s"),
    "a type twice": (nested(3, type=["array", "array"]), "s.type"),
    "65 levels": (nested(65), "s"),
    "65 levels of data": ({"default": json.loads("[" * 65 + "]" * 65)}, "s"),
    "an enum of 501": ({"enum": list(range(501))}, "s"),
    "enums of 501 together": ({"anyOf": [{"enum": list(range(250))}, {"enum": list(range(251))}]}, "s"),
    "branches that begin alike": ({"anyOf": [{"type": "array", "items": {"enum": list(range(100))}}] * 30}, "s"),
    "bounded integers as alternatives": ({"anyOf": [{"type": "integer", "minimum": 0, "maximum": 10**15}] * 100}, "s"),
    "201 optional properties": ({"properties": names(201)}, "s.properties"),
    "names that clash": ({"properties": clashing(150)}, "s.properties"),
    "too much text": ({"enum": ["x" * 1000] * 121}, "s.enum"),
    "long paths": ({"properties": {"x" * 30_000: {"properties": {"y" * 30_000: {"properties": names(100)}}}}}, "s.properties." + "x" * 186 + "…"),
    "allOf of itself": ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}, "s.$defs.a.$ref"),
    "an alternative of itself": (defs("a", a={"anyOf": [{"$ref": "#/$defs/a"}, STRING]}), "s.$defs.a.anyOf[0].$ref"),
    "another document": ({"$ref": "https://example.com/a"}, "s.$ref"),
    "the root": ({"properties": {"a": {"$ref": "#"}}}, "s.properties.a.$ref"),
    "nowhere": ({"$ref": "#/$defs/a"}, "s.$ref"),
    "no schema": ({"enum": ["a"], "not": {"$ref": "#/enum/0"}}, "s.not.$ref"),
    "a reference that is a number": ({"$ref": 5}, "s.$ref"),
    "true": ({"items": True}, "s.items"),
    "a property that is false": ({"properties": {"a": False}}, "s.properties.a"),
    "properties: null": ({"properties": None}, "s.properties"),
    "additionalProperties: null": ({"additionalProperties": None}, "s.additionalProperties"),
    "items: null": ({"items": None}, "s.items"),
    "an unknown type": ({"type": "text"}, "s.type"),
    "no type": ({"type": []}, "s.type"),
    "an empty enum": ({"enum": []}, "s.enum"),
    "an empty anyOf": ({"anyOf": []}, "s.anyOf"),
    "a format that is a number": ({"format": 5}, "s.format"),
    "required of numbers": ({"required": [5]}, "s.required"),
    "a backslash beside additionalProperties": ({"properties": {"a\\": STRING}, "additionalProperties": STRING}, "s.properties.a\\"),
    "a pattern as a name": ({"patternProperties": {"^a{5,2}$": STRING}}, "s.patternProperties"),
    **{f"pattern {text[:30]!r}": (pattern(text), "s.pattern") for text in [
        "", "^", "a", "^a", "a$", "^a|b$", "^a{5,2}$", "^a{,3}$", "^a{b}$", "^{3}$", "^*$", "^a{2}{3}$", "^a++$", "^a{99999}$", "^a{9999999999}$",
        "^(a*)*$", "^(a+)+$", "^(a?){50}a{50}$", "^(|a){9}$", "^(\\w+\\s?)+$", "^" + "a?" * 21 + "$", "^" + "(a?b?)" * 20 + "$", "^((a{50}){50}){50}$",
        "^(a|a)$", "^(" + "|".join("ab" * 62) + "){9}$", "^([a-z]|[a-y]|[a-x]|[a-w]|[a-v])*$", "^(" + "|".join(map(str, range(251))) + ")$",
        "^(?=a)a$", "^(?!a)b$", "^(?<=a)b$", "^(?<n>a)$", "^(?i)a$", "^(a)\\1$", "^\\ba$", "^\\p{L}$", "^\\u{41}$", "^\\x0$", "^\\x00$", "^\\uD800$", "^a\x00$", "^a\nb$",
        "^[]$", "^[^]$", "^[a$", "^[a\\$", "^[z-a]$", "^[a-\\d]$", "^[[:alpha:]]$", "^(a$", "^a)$", "^a\\$", "^a^b$", "^a$b$", "^é+$", "^" + "(" * 21 + "a" + ")" * 21 + "$", "^" + "a" * 2000 + "$",
    ]},
}  # fmt: skip


def rounds(depth: int, most: int) -> str:
    """Return a pattern of a letter in nested repetitions."""
    inner = "[a-z]"
    for _ in range(depth):
        inner = f"({inner}){{1,{most}}}"
    return f"^{inner}[a-z]{{100}}$"


MANY_READINGS = {
    **{
        f"{depth} of 1 to {most}": rounds(depth, most)
        for depth, most in [(4, 2), (6, 2), (8, 2), (2, 12), (3, 8)]
    },
    "optional rounds": "^(([a-z][a-z]?)[a-z]?){1,60}$",
    "optional letters": "^" + "[a-z]?" * 19 + "[a-z]{60}$",
    "alternatives": "^((\\w|[a-z])[a-z]?){1,60}$",
    "groups of alternatives": "^((a|b)x?|(a|c)y?|[a-z]{1,3}){1,100}$",
    "ends that may begin again": "^([a-z]{1,9}[a-z0-9]{1,9}){1,9}$",
    "stars in a row": "^" + "[a-z]*" * 8 + "$",
    "one beside the other": "^" + "([a-z]{1,9})" * 20 + "$",
}


@pytest.mark.parametrize("name", MANY_READINGS)
def test_patterns_of_many_readings(name: str) -> None:
    """A pattern that can read a text in many ways slows llama.cpp's own grammars down.

    It does not slow the constraint of an answer down.
    """
    with pytest.raises(SchemaRefused, match="in too many ways at once") as refusal:
        check([(("s",), pattern(MANY_READINGS[name]))])
    assert refusal.value.path == "s.pattern"
    check([(("s",), pattern(MANY_READINGS[name]))], by="llguidance")


def test_readings_of_a_request() -> None:
    """The ways of reading add up over all patterns of a request."""
    one = pattern("^([a-z]{2,14}){1,3}[a-z]{20}$")
    check([(("s",), one)])
    with pytest.raises(SchemaRefused, match="in too many ways at once"):
        check([(("s",), {"anyOf": [{**one, "title": str(number)} for number in range(20)]})])


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("^[a-z]{1,1000}$", 1),
        ("^([a-z]{1,9}-){1,9}[0-9]+$", 1),
        ("^(a|b|[c-z]|\\d|[^\\w])*$", 1),
        ("^(a|[a-c])b$", 2),
        ("^[a-z]?[a-m]?a$", 4),
        ("^.*x.*$", TOKEN + 1),
        ("^([a-z]{1,70}){1,70}$", 2**TOKEN),
        ("^([a-z]|[a-z]{2}){1,3}$", None),
    ],
)
def test_readings(text: str, readings: int | None) -> None:
    """The count follows llama.cpp: the positions that one character leads to, token by token."""
    found = Automaton(parsed(text), 10**6).readings(10**9)
    assert found == readings if readings is not None else found > 1


def parsed(text: str) -> Node:
    """Return the parsed parts of a pattern."""
    parser = _Parser(text, begins=True, ends=True, lenient=False)
    parser.parse()
    return parser._groups[0].closed().node


def codes(count: int, end: str = "x") -> str:
    """Return a pattern of twelve codes, each of which begins with another character."""
    return "^(" + "|".join(f"\\u{0x21 + number:04x}{end}" for number in range(count)) + "){12}$"


def test_transitions_are_bounded() -> None:
    """The work of counting is bounded, for one pattern and for all of a request."""
    for one in (codes(70), rounds(11, 2)):
        with pytest.raises(SchemaRefused, match="pairs of characters"):
            check([(("s",), pattern(one))])
    few = {end: pattern(codes(13, end)) for end in "abcdefghi"}
    check([(("s",), {"properties": dict(list(few.items())[:4])})])
    with pytest.raises(SchemaRefused, match="pairs of characters"):
        check([(("s",), {"properties": few})])


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_engine_may_get_is_refused_by_name(name: str) -> None:
    """Each hostile or impossible schema is rejected with the wrong member's path and a reason."""
    schema, path = REFUSED[name]
    with pytest.raises(SchemaRefused) as refusal:
        check([(("s",), schema)])
    assert refusal.value.path == path
    assert refusal.value.reason.isprintable()


FOR_FORMS: dict[str, Any] = {
    **{f"pattern {text!r}": pattern(text) for text in ["^https?://", r"\d+", "foo|bar", "bar$", r"^\d+\$", r"^(?=.*[A-Z])(?=.*\d).{8,}$", "^(?!a$)b", r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,3}|(?=[\d.]{1,6}0*$)\d{0,3}\.\d{0,2}0*$)"]},
    "the root": {"properties": {"a": {"items": {"$ref": "#"}}}},
    "an escaped pointer": {"$ref": "#/$defs/a~1b", "$defs": {"a/b": STRING}},
    "an encoded pointer": {"$ref": "#/$defs/Page%5Bint%5D", "$defs": {"Page[int]": STRING}},
    "an enum of 1,000": {"enum": [f"v{number}" for number in range(1_000)]},
    "no fixed names": {"patternProperties": {".*": STRING, "^S_": STRING}},
    "true": {"properties": {"a": True}, "required": ["a"], "items": True},
    "false": {"prefixItems": [STRING], "items": False},
    "branches that begin with any value": {"anyOf": [{"properties": {"a": True}, "required": ["a"]}] * 2},
    "large maxima": {"maxItems": 2_000, "maxLength": 1_000_000, "items": {"maxLength": 65_535, "maxItems": 1_000}},
    "a large minimum": {"type": "integer", "minimum": 10**15},
    "a bracket beside additionalProperties": {"properties": {"a[]": STRING}, "additionalProperties": True},
    **{f"{name} null": {name: None} for name in ("maxLength", "minItems", "enum", "pattern", "format", "properties", "required", "type", "items", "anyOf", "multipleOf", "minimum", "additionalProperties")},
}  # fmt: skip


@pytest.mark.parametrize("name", FOR_FORMS)
def test_forms_may_have_what_llama_cpp_would_not_take(name: str) -> None:
    """Some schemas are rejected only for tools that the model may call.

    llguidance, or the code that rewrites schemas for it, accepts them in other places.
    """
    check([(("s",), FOR_FORMS[name])], by="llguidance")
    if name != "required null":  # some clients send it for no limit, and llama.cpp accepts it
        with pytest.raises(SchemaRefused):
            check([(("s",), FOR_FORMS[name])])


LOST: dict[str, Any] = {
    "a large multipleOf": {"type": "integer", "multipleOf": 1_000_003},
    "a large multipleOf in a range": {"type": "integer", "minimum": -(10**17), "maximum": 10**17, "multipleOf": 7_919},
    "a long fraction": {"type": "number", "multipleOf": 0.100003},
    "a fraction of many places": {"multipleOf": 1e-300},
    "multipleOf 0": {"multipleOf": 0},
    "multipleOf below 0": {"multipleOf": -5},
    "multipleOf without end": {"multipleOf": float("inf")},
    "multiples together": {"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]},
    "multiples through alternatives": {"multipleOf": 997, "anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"multipleOf": 991}}},
    **{f"pattern {text[:30]}": pattern(text) for text in ["^(.*a.{900}|.*b.{901})$", "^(.*a.{200}|.*b.{201})$", "^.*a" + "." * 300 + "$", "a.{300}", "^((a.{100}){3})*$", "^(.*a.{30}){10}$"]},
}  # fmt: skip


@pytest.mark.parametrize("by", ENGINES)
@pytest.mark.parametrize("name", LOST)
def test_what_a_sampler_would_lose_count_of_is_refused(name: str, by: Any) -> None:
    """Schemas that need a state for each remainder or text are bounded for all engines."""
    with pytest.raises(SchemaRefused):
        check([(("s",), LOST[name])], by=by)


@pytest.mark.parametrize("step", [5, 100, 15.0, 0.01, 0.5, 0.001, 1000])
def test_usual_multiples_are_accepted(step: float) -> None:
    """Multiples such as minutes and cents are accepted."""
    check([(("s",), {"type": "number", "minimum": 0, "maximum": 10**6, "multipleOf": step})])


def test_what_only_explains_does_not_count() -> None:
    """Descriptions and examples do not count, except for the work of reading them."""
    field = {"description": "d" * 10_000, "examples": list(range(200)), "default": ["x" * 1_000]}
    check(
        [(("s",), {"properties": {f"p{number}": field for number in range(150)}})], by="llguidance"
    )
    with pytest.raises(SchemaRefused, match="values that guide"):
        check([(("s",), {"const": list(range(17_000))})], by="llguidance")


@pytest.mark.parametrize("name", USUAL)
def test_usual_schemas_are_accepted(name: str) -> None:
    """Schemas of pydantic, zod and people are accepted."""
    check([(("s",), USUAL[name])])
    check([(("s",), USUAL[name])], by="llguidance")


def test_all_schemas_of_a_request_count_together() -> None:
    """The sizes of all tools of a request add up, because they become one grammar."""
    tool = {"properties": names(150)}
    check([(("tools", number), tool) for number in range(20)])
    with pytest.raises(SchemaRefused) as refusal:
        check([(("tools", number), tool) for number in range(21)])
    assert refusal.value.path == "tools[20].properties"


def test_a_path_is_cut_and_printable() -> None:
    """A path has at most 200 printable characters, for names of any length and characters."""
    with pytest.raises(SchemaRefused) as refusal:
        check(
            [(("s",), {"properties": {"\x1b[2J\n" + "n" * 5000: {"minItems": 5, "maxItems": 2}}})]
        )
    assert len(refusal.value.path) == 200
    assert refusal.value.path.isprintable()


@given(json_values)
def test_any_json_returns_or_is_refused(value: Any) -> None:
    """No value raises anything but the package's own error."""
    for by in ENGINES:
        with contextlib.suppress(SchemaRefused):
            check([(("s",), value)], by=by)


@given(schemas)
def test_forms_take_no_less(schema: Any) -> None:
    """A schema that llama.cpp's converter gets may be that of an answer, too."""
    with contextlib.suppress(SchemaRefused):
        check([(("s",), schema)])
        try:
            check([(("s",), schema)], by="llguidance")
        except SchemaRefused as refusal:
            pytest.fail(f"{refusal.path}: {refusal.reason}")


def steps(schema: Any) -> int:
    """Return the number of the package's lines that run for a schema."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if "schema_guard" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        check([(("s",), schema)])
    except SchemaRefused:
        pass
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize(
    "grown",
    [
        lambda size: {"properties": names(size), "required": list(names(size))},
        lambda size: {"anyOf": [{"const": number} for number in range(size)]},
        lambda size: defs("d0", **{f"d{n}": {"items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(size)}, **{f"d{size}": STRING}),
        lambda size: defs("d0", **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}], "minItems": 1} for n in range(size)}, **{f"d{size}": STRING}),
        lambda size: pattern("^" + "a" * size + "$"),
        lambda size: {"enum": ["x"] * size},
        lambda size: {"default": [[size]] * size},
    ],
)  # fmt: skip
def test_the_work_is_linear(grown: Any) -> None:
    """A schema of twice the size takes some two times the steps. A huge one stops soon."""
    assert steps(grown(400)) < 2.5 * steps(grown(200))
    assert steps(grown(200_000)) < 2_000_000


def branches(count: int, target: Any) -> dict[str, Any]:
    """Return alternatives, in pairs, that all refer to one schema."""
    pairs = {f"p{number}": {"anyOf": [{"$ref": "#/$defs/d"}] * 2} for number in range(count)}
    return {"$defs": {"d": target, **pairs}}


def seconds(schema: Any) -> float:
    """Return the CPU seconds of the check, the minimum of three runs."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        check([(("s",), schema)])
        spent.append(time.process_time() - began)
    return min(spent)


@pytest.mark.parametrize(
    "large",
    [
        lambda size: {"properties": {"k": {"const": {str(number): [number] for number in range(size // 2)}}}, "required": ["k"]},
        lambda size: {"properties": {"k": {"const": "x" * size}}, "required": ["k"]},
        lambda size: {"properties": {"k": {"enum": [list(range(size))]}}, "required": ["k"]},
        lambda size: {"properties": {"k": STRING}, "required": ["k", *map(str, range(size))]},
        lambda size: {"properties": {"k" * size: STRING}, "required": ["k" * size]},
        lambda size: {"type": "string", "enum": ["x" * size]},
    ],
)  # fmt: skip
def test_one_large_schema_costs_once_however_many_refer_to_it(large: Any) -> None:
    """A large schema with many references to it costs about as much as the two parts alone."""
    apart = seconds(branches(1, large(6_000))) + seconds(branches(1_000, large(1)))
    assert seconds(branches(1_000, large(6_000))) < 4 * apart


@pytest.fixture(scope="module")
def engine() -> Any:
    """Yield llama.cpp in a process with little memory."""
    with converter() as child:
        yield child


def converts(engine: Converter, schema: Any) -> None:
    """Convert an accepted schema.

    With some patterns a model may still write invalid JSON.
    """
    found = engine.convert(schema)
    assert found["error"] is None or "expected peg-native format" in found["error"]
    assert found["seconds"] < 3 * SECONDS


@pytest.mark.parametrize("name", USUAL)
def test_usual_schemas_convert(engine: Converter, name: str) -> None:
    """llama.cpp converts usual schemas, too."""
    converts(engine, USUAL[name])


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas)
def test_what_is_accepted_converts(engine: Converter, schema: Any) -> None:
    """llama.cpp converts every accepted schema with 512 MB and in little time."""
    try:
        check([(("s",), schema)])
    except SchemaRefused:
        return
    converts(engine, schema)


def table() -> str:
    """Return the table of limits for docs/reference/api.md."""
    found = [limit for limit in vars(limits).values() if isinstance(limit, limits.Limit)]
    return "\n".join(f"| {limit.counts} | {limit.most:,} | {limit.measured} |" for limit in found)


def test_the_documentation_has_the_limits() -> None:
    """docs/reference/api.md has one row for each limit, as it is in the code."""
    assert table() in DOCUMENT.read_text()
