"""Schemas rewritten for llguidance.

They have the same meaning or a wider one, and none makes llguidance fail.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from model.engines.forced_call import schema as call_schema
from model.engines.llama_cpp_chunks import guiding, request_body
from model.engines.llguidance import rewritten
from model.engines.search_pattern import anchored
from model.engines.trials import Trials
from model.errors import ModelError
from tests.schema_guard.usual import USUAL, closed
from tests.support.model import asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STRING = {"type": "string"}
QUESTION = {"messages": [{"role": "user", "content": "."}]}
# llguidance rejected each of these as its author wrote it, or could not fulfil it.
REWRITTEN: dict[str, Any] = {
    "members that are null": closed(a={"type": "string", "pattern": None, "enum": None, "maxLength": None}),
    "boolean schemas": {**closed(a=True, b={"prefixItems": [True], "items": False}), "anyOf": [True, False]},
    "itself": {"properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]},
    "pointers": {"$defs": {"a/b[c]~": STRING}, **closed(a={"$ref": "#/$defs/a~1b%5Bc%5D~0"})},
    "an enum of 1,000": closed(a={"enum": [f"value {number}" for number in range(1000)]}),
    "large bounds": closed(
        a={"type": "string", "maxLength": 10**9},
        b={"type": "array", "items": STRING, "maxItems": 10**9},
        c={"type": "integer", "minimum": 10**18},
        d={"type": "integer", "exclusiveMaximum": -(10**18)},
    ),
    "draft 4": closed(a={"type": "integer", "minimum": 0, "exclusiveMinimum": True}),
    "other addresses": {"$schema": "https://example.com/schema", "$id": "https://example.com/x", **closed(a=STRING)},
    "patterns that search": closed(a={"pattern": "^https?://"}, b={"pattern": r"\d+"}, c={"pattern": "^a|b$"}),
    "look-around": closed(a={"type": "string", "pattern": "^(?=a)(?!b)[a-c]+(?<=c)$"}, b={"pattern": r"\bword\b"}),
    "anchors within": closed(a={"pattern": "(^a|b$)"}, b={"pattern": "a^b"}),
    "names by pattern": {"type": "object", "patternProperties": {"^S_": STRING, "^(?!S_)": {}}},
    "all of two references": {
        "$defs": {"A": {"properties": {"a": STRING}, "required": ["a"]}, "B": {"properties": {"b": STRING}}},
        "allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}],
    },
    "all of a base and more": {
        "$defs": {"Base": {"properties": {"a": STRING}, "required": ["a"]}},
        "allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"b": STRING}, "required": ["b"]}],
    },
    "properties beside one of": {
        "properties": {"a": STRING},
        "required": ["a"],
        "oneOf": [{"properties": {name: {"const": 1}}, "required": [name]} for name in "xy"],
    },
    "properties beside a reference": {
        "$defs": {"B": {"properties": {"b": STRING}, "required": ["b"]}},
        "properties": {"a": STRING},
        "required": ["a"],
        "$ref": "#/$defs/B",
    },
    "required that is not named": {"properties": {"a": STRING}, "required": ["a", "b"]},
}  # fmt: skip


@pytest.fixture
async def tried() -> AsyncIterator[Trials]:
    """Yield two processes that are ready for trials."""
    running = Trials()
    await running.start()
    yield running
    await running.close()


def bodies(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the kinds of request that may have this schema."""
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    return {
        "form": {"response_format": form},
        "required": {"tools": tools, "tool_choice": "required"},
        "auto": {"tools": tools},
    }


@pytest.mark.parametrize("use", ["form", "required", "auto"])
async def test_usual(tried: Trials, use: str) -> None:
    """Schemas of pydantic, zod and people constrain answers, required calls and optional calls."""
    assert await refused(tried, {name: bodies(schema)[use] for name, schema in USUAL.items()}) == {}


@pytest.mark.parametrize("use", ["form", "required"])
async def test_rewritten(tried: Trials, use: str) -> None:
    """A schema that llguidance does not accept as it is is rewritten."""
    assert (
        await refused(tried, {name: bodies(schema)[use] for name, schema in REWRITTEN.items()})
        == {}
    )


async def refused(tried: Trials, cases: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the requests whose schema is rejected, and the reasons."""
    found = {}
    for name, more in cases.items():
        body = guiding(request_body(asked(QUESTION, **more)))
        assert body is not None
        try:
            await tried.check(body, "x")
        except ModelError as error:
            found[name] = error.message
    return found


def test_closed() -> None:
    """Objects have only the properties that they name.

    Exceptions are schemas that allow others or join several.
    """
    schema = {
        "x-guidance": {"lenient": False},
        "properties": {
            "properties": {"properties": {"a": {}}},
            "open": {"properties": {}, "additionalProperties": True},
            "joined": {"allOf": [{"properties": {}}], "properties": {}},
            "either": {"anyOf": [{"properties": {}}, {"type": "null"}]},
            "more": {"properties": {}, "required": ["a"]},
        },
    }

    assert rewritten(schema) == {
        "properties": {
            "properties": {"properties": {"a": {}}, "additionalProperties": False},
            "open": {"properties": {}, "additionalProperties": True},
            "joined": {"allOf": [{"properties": {}}], "properties": {}},
            "either": {
                "anyOf": [{"properties": {}, "additionalProperties": False}, {"type": "null"}]
            },
            "more": {"properties": {}, "required": ["a"]},
        },
        "additionalProperties": False,
    }


def test_reference_from_both() -> None:
    """A definition is closed where it is used alone, and open where a larger schema joins it."""
    schema = {
        "$defs": {"A": {"properties": {}}},
        "properties": {
            "alone": {"$ref": "#/$defs/A"},
            "part": {"allOf": [{"$ref": "#/$defs/A"}, {}]},
        },
    }

    found = rewritten(schema)

    assert found["$defs"] == {
        "s0": {"properties": {}, "additionalProperties": False},
        "s1": {"properties": {}},
    }
    assert found["properties"]["alone"] == {"$ref": "#/$defs/s0"}
    assert found["properties"]["part"]["allOf"][0] == {"$ref": "#/$defs/s1"}


def test_data() -> None:
    """A constant that looks like a schema is not rewritten, also in a call."""
    constant: dict[str, Any] = {"$ref": "#/x", "pattern": None, "properties": {}}

    assert rewritten({"const": constant}) == {"const": constant}
    call = call_schema(
        [{"name": "f", "parameters": {"const": constant, "properties": {"const": {"$ref": "#"}}}}]
    )
    assert call["$defs"]["tool0"] == {
        "const": constant,
        "properties": {"const": {"$ref": "#/$defs/tool0"}},
    }


@pytest.mark.parametrize(
    ("pattern", "takes", "leaves"),
    [
        ("^a$", ["a"], ["ab", "ba"]),
        ("^a", ["a", "ab"], ["ba"]),
        ("a$", ["a", "ba"], ["ab"]),
        ("a", ["bab", "\na\n"], ["b"]),
        ("^a|b$", ["ax", "xb"], ["xa", "bx"]),
        ("^$|^a$", ["", "a"], ["b", "aa"]),
        (r"a\$", ["xa$x"], ["a"]),
        ("[|$^]", ["x|x"], ["x"]),
        (r"^(a|b)\|c$", ["a|c"], ["a", "c"]),
        ("", ["", "x"], []),
    ],
)
def test_pattern(pattern: str, takes: list[str], leaves: list[str]) -> None:
    """A rewritten pattern matches, as a whole, the strings in which the original is found."""
    found = anchored(pattern)

    assert found is not None
    assert all(re.fullmatch(found.removeprefix("^").removesuffix("$"), text) for text in takes)
    assert not any(re.fullmatch(found.removeprefix("^").removesuffix("$"), text) for text in leaves)


@pytest.mark.parametrize(
    "pattern",
    ["^(?!a)b$", "a(?=b)", "(?<=a)b", "(?<!a)b", r"\bb", r"(a)\1", "(^a)", "a^", "[a--b]", "(?i)a"],
)
def test_pattern_that_cannot_be_said(pattern: str) -> None:
    """Look-around, back references and inner anchors cannot be rewritten, and are left out."""
    assert anchored(pattern) is None
    assert json.loads(json.dumps(rewritten({"type": "string", "pattern": pattern}))) == {
        "type": "string"
    }
