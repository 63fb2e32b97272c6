"""Costly, endless or contradictory JSON schemas, in every field that leads to an engine."""

import asyncio
from typing import Any

import httpx

from tests.attack.target import Findings, Target

KIND = "schemas"

_TEXT = {"type": "string"}


def _array(**fields: Any) -> dict[str, Any]:
    return {"type": "array", "items": _TEXT, **fields}


def _nested(levels: int, **fields: Any) -> dict[str, Any]:
    schema: dict[str, Any] = _TEXT
    for _ in range(levels):
        schema = {"type": "array", "items": schema, **fields}
    return schema


def _doubling(levels: int) -> dict[str, Any]:
    """Return definitions, each of which refers twice to the one before it."""
    definitions: dict[str, Any] = {"d0": _TEXT}
    for number in range(1, levels):
        part = {"$ref": f"#/$defs/d{number - 1}"}
        definitions[f"d{number}"] = {
            "type": "object",
            "properties": {"a": part, "b": part},
            "required": ["a", "b"],
        }
    return {"$defs": definitions, "$ref": f"#/$defs/d{levels - 1}"}


def _pattern(text: str) -> dict[str, Any]:
    return {"type": "string", "pattern": text}


HOSTILE: dict[str, Any] = {
    "minItems over maxItems": _array(minItems=5, maxItems=2),
    "minLength over maxLength": {"type": "string", "minLength": 5, "maxLength": 2},
    "a pattern's {5,2}": _pattern("^a{5,2}$"),
    "minItems over maxItems in a property": {
        "type": "object",
        "properties": {"a": _array(minItems=9, maxItems=1)},
    },
    "minimum over maximum": {"type": "integer", "minimum": 10, "maximum": 1},
    "bounds that meet in allOf": {"allOf": [_array(minItems=5), {"maxItems": 2}]},
    "a huge minItems": _array(minItems=10_000_000),
    "a huge maxLength": {"type": "string", "maxLength": 2**31 - 1},
    "a huge pattern": _pattern("^a{1,2000000000}$"),
    "a number of 4,000 digits": {"type": "string", "maxLength": int("9" * 4000)},
    "repetition in repetition": _nested(8, minItems=60, maxItems=60),
    "doubling definitions": _doubling(30),
    "60 levels of arrays": _nested(60),
    "300 levels": _nested(300),
    "nested quantifiers": _pattern("^((a{1,99}){1,99}){1,99}$"),
    "an unanchored pattern": _pattern("(a+)+b"),
    "a look-ahead": _pattern("^(?=a)b$"),
    "a back reference": _pattern(r"^(a)\1$"),
    "control characters in a pattern": _pattern("^a\n\x1b[31mERROR forged\n$"),
    "an enum of 20,000 strings": {"enum": [f"value-{number}" for number in range(20_000)]},
    "an enum of one string of 500 kB": {"enum": ["x" * 500_000]},
    "5,000 properties": {
        "type": "object",
        "properties": {f"p{number}": _TEXT for number in range(5000)},
    },
    "anyOf of 3,000": {"anyOf": [{"const": f"c{number}"} for number in range(3000)]},
    "a reference to nothing": {"$ref": "#/$defs/none"},
    "a reference elsewhere": {"$ref": "https://127.0.0.1:1/schema.json"},
    "a reference in a circle": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
}
"""Each is refused, or served: nothing else. What the engines cannot take is a 400."""


async def attack(target: Target, findings: Findings) -> None:
    """Send every schema in every field, a few at a time."""
    turns = asyncio.Semaphore(3)
    async with target.client() as client:

        async def send(name: str, body: dict[str, Any]) -> None:
            async with turns:
                try:
                    answer = await client.post("/v1/chat/completions", json=body)
                except httpx.HTTPError as error:
                    findings.check(name, False, repr(error))
                    return
            if answer.status_code != 200:
                findings.refusal(name, answer, 400, 413)
            else:
                findings.check(name, True)

        async with asyncio.TaskGroup() as group:
            for name, schema in HOSTILE.items():
                for way, change in _ways(schema).items():
                    group.create_task(send(f"{name}, by {way}", target.chat(**change)))


def _ways(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    wrapped = {"type": "object", "properties": {"x": schema}}
    tool_object = {
        "type": "function",
        "function": {"name": "g", "parameters": wrapped, "strict": True},
    }
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    return {
        "response_format": {"response_format": form},
        "a tool": {"tools": [tool]},
        "a required tool": {"tools": [tool_object], "tool_choice": "required"},
        "a named tool": {
            "tools": [tool],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
    }
