"""Schemas as `plain` writes them: with the same meaning, in the guide's own form."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schema_guard import SchemaRefused, check_plain, plain
from tests.schema_guard.usual import USUAL
from tests.support.bad_requests import HABITS

TEXT = {"type": "string"}
REWRITTEN: list[tuple[Any, Any]] = [
    ({"properties": {"a": True}}, {"properties": {"a": {}}}),
    ({"properties": {"a": False, "b": TEXT}}, {"properties": {"b": TEXT}}),
    ({"anyOf": [False, TEXT, True]}, {"anyOf": [TEXT, {}]}),
    ({"type": "array", "items": False}, {"type": "array", "maxItems": 0}),
    ({"additionalProperties": True, "not": False}, {"additionalProperties": True, "not": False}),
    ({"properties": None, "const": None, "default": None}, {"const": None, "default": None}),
    ({"properties": []}, {"properties": {}}),
    ({"type": "any"}, {}),
    ({"type": ["null", "null"]}, {"type": "null"}),
    ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
    ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
    ({"minLength": 2.0, "minimum": 2.0}, {"minLength": 2, "minimum": 2.0}),
    ({"pattern": "a", "maxItems": 10**6}, {}),
    ({"pattern": r"^a\$"}, {}),
    (
        {"const": {"properties": None, "items": True}},
        {"const": {"properties": None, "items": True}},
    ),
    (
        {"properties": {"properties": True, "$ref": TEXT}},
        {"properties": {"properties": {}, "$ref": TEXT}},
    ),
    (
        {"items": {"$ref": "#"}, "$defs": {"schema0": TEXT}},
        {
            "items": {"$ref": "#/$defs/schema1"},
            "$defs": {"schema0": TEXT, "schema1": {"items": {"$ref": "#/$defs/schema1"}}},
        },
    ),
    (
        {"items": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": True}},
        {"items": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": {}}},
    ),
]
"""Schemas, and what llama.cpp gets. A reference to what is no object stays as it is."""
KEPT = [
    *({"properties": {"a": False}, "required": ["a"]}, {"allOf": [False]}, {"anyOf": [False]}),
    *({"type": "STRING"}, {"type": []}, {"enum": []}, {"required": "a"}, {"$ref": "#/$defs/none"}),
    *({"$ref": "https://x/y"}, {"items": [5]}, {"properties": {"a": None}}, {"minLength": "1"}),
]
"""Schemas that cannot be rewritten. `check` refuses them."""


@pytest.mark.parametrize(("given", "found"), REWRITTEN, ids=lambda it: json.dumps(it)[:40])
def test_rewritten(given: Any, found: Any) -> None:
    """Each habit is written in the one way that llama.cpp reads. The caller's schema stays."""
    before = json.dumps(given)
    assert plain(given, by="llama.cpp") == found
    assert json.dumps(given) == before


@pytest.mark.parametrize("schema", KEPT, ids=json.dumps)
def test_kept(schema: Any) -> None:
    """What has no other form stays, and is refused by its place."""
    assert plain(schema, by="llama.cpp") == schema
    with pytest.raises(SchemaRefused):
        check_plain([(("tools", 0), schema)], by="llama.cpp")


@pytest.mark.parametrize("schema", [5, None, True, [], "x"])
def test_no_object(schema: Any) -> None:
    """Whatever is not an object is returned as it is, for `check` to refuse."""
    assert plain(schema, by="llama.cpp") is schema


@pytest.mark.parametrize("name", [name for name, it in USUAL.items() if None not in it.values()])
def test_usual_schemas_stay(name: str) -> None:
    """A schema that both guides read is not changed."""
    schema = json.loads(json.dumps(USUAL[name]))
    assert plain(schema, by="llguidance") == schema


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 7, "x", [], ["x"], [[]], {}, {"a": "x"}, {"a": None}]
)


@pytest.mark.parametrize("by", ["llama.cpp", "llguidance"])
@pytest.mark.parametrize("name", HABITS)
@given(VALUES | st.builds(lambda a, b: {"a": a, "b": b}, VALUES, VALUES))
@settings(max_examples=40, deadline=None)
def test_the_meaning(by: Any, name: str, value: Any) -> None:
    """What matches a schema of today's draft also matches the rewritten one."""
    schema = HABITS[name]
    if not _is_valid(schema):
        return  # of another draft, or with null for what is absent
    if Draft202012Validator(schema).is_valid(value):
        assert Draft202012Validator(plain(schema, by=by)).is_valid(value)


def _is_valid(schema: Any) -> bool:
    try:
        Draft202012Validator.check_schema(schema)
    except Exception:  # noqa: BLE001 - any fault
        return False
    return True


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "properties",
                        "items",
                        "$ref",
                        "$defs",
                        "anyOf",
                        "type",
                        "required",
                        "pattern",
                        "#",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_value(schema: Any) -> None:
    """Any value is rewritten or stays, and rewriting it again changes nothing."""
    once = plain(schema, by="llama.cpp")
    assert json.dumps(plain(once, by="llama.cpp")) == json.dumps(once)


def test_the_work_is_linear() -> None:
    """Large and deep schemas take a time that grows with their size, and no stack."""

    def seconds(make: Any, size: int) -> float:
        schema = make(size)
        began = time.process_time()
        plain(schema, by="llama.cpp")
        return time.process_time() - began

    def deep(size: int) -> Any:
        schema: dict[str, Any] = {}
        for _ in range(size):
            schema = {"items": schema}
        return schema

    makers = [
        deep,
        lambda size: {"properties": {str(number): True for number in range(size)}},
        lambda size: {
            "$defs": {f"a{number}/": TEXT for number in range(size)},
            "anyOf": [{"$ref": f"#/$defs/a{number}~1"} for number in range(size)],
        },
        lambda size: {"anyOf": [{"$ref": "#"}] * size},
        lambda size: {"anyOf": [{"pattern": "(a{1,9}){1,9}"}] * size},
        lambda size: {"$ref": "#" + "/x" * size},
    ]
    for make in makers:
        few = min(seconds(make, 2_000) for _ in range(2))
        assert min(seconds(make, 8_000) for _ in range(2)) < 12 * few + 0.05
