"""Makes grammars from callers' JSON schemas, and limits the size of llama.cpp's own grammars. Pure.

llguidance, which is part of llama.cpp here, guides by schemas. It compiles an `enum` of any number
of strings into one automaton. llama.cpp's own grammars compare every alternative with the whole
vocabulary at every token. llama.cpp still makes its own grammar from tools that a model may call,
so their number of alternatives is limited.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from model.engines import forced_call, llguidance
from model.errors import InvalidRequestError
from schema_guard import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model.schema import ChatRequest

MAX_DEPTH = 64
# The maximum of alternatives at one place of the parameters of a tool that may be called.
MAX_TOOL_ALTERNATIVES = 512

# llguidance ignores members that it does not know, as llama.cpp does. White space is bounded,
# because small models write much of it.
_OPTIONS = {"lenient": True, "coerce_one_of": True, "whitespace_pattern": " |\\n{1,2}[ \\t]{0,20}"}
_ANY_OBJECT = {"type": "object"}


def schema_of(request: ChatRequest) -> dict[str, Any] | None:
    """Return the schema that guides the answer from its first token on; None for a free answer."""
    if request.must_call:
        tools = [tool.model_dump(exclude_none=True)["function"] for tool in request.visible_tools]
        for tool in tools:
            tool["parameters"] = plain(tool.get("parameters"), by="llguidance")
        return forced_call.schema(tools)
    form = request.response_format
    if form is None or form.type == "text":
        return None
    if form.json_schema is None or form.type == "json_object":
        return _ANY_OBJECT
    schema: dict[str, Any] = plain(form.json_schema.schema_, by="llguidance")
    return schema


def check(request: ChatRequest) -> None:
    """Raise InvalidRequestError for tools whose grammar would slow down every step.

    `schema_guard` has checked the rest.
    """
    if schema_of(request) is not None:
        return
    for tool in request.visible_tools:
        if _alternatives(tool.function.parameters or {}) > MAX_TOOL_ALTERNATIVES:
            raise InvalidRequestError(
                f"tools: the schema allows more than {MAX_TOOL_ALTERNATIVES} forms at one "
                "place, which are "
                "allowed where tool_choice asks for the call; make it smaller, or leave part "
                "of it out",
                "tools",
            )


def _alternatives(schema: dict[str, Any]) -> int:
    """Return the maximum of alternatives that llama.cpp's grammar has to follow at one place.

    Counting stops above `MAX_TOOL_ALTERNATIVES`.
    """
    known: dict[int, int] = {}

    def count(value: Any, depth: int) -> int:
        if not isinstance(value, dict):
            return 1
        if depth > MAX_DEPTH:  # a chain of references that is too long, or a cycle
            return MAX_TOOL_ALTERNATIVES + 1
        if id(value) not in known:
            known[id(value)] = min(one(value, depth), MAX_TOOL_ALTERNATIVES + 1)
        return known[id(value)]

    def one(value: dict[str, Any], depth: int) -> int:
        forms = [
            len(value[key])
            for key in ("enum", "type", "properties")
            if isinstance(value.get(key), list | dict)
        ]
        joined = [
            value[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(value.get(key), list)
        ]
        forms += [count(item, depth + 1) for members in joined for item in members]
        if isinstance(value.get("$ref"), str):
            forms.append(count(llguidance.target(schema, value["$ref"]), depth + 1))
        return max(1, sum(forms))

    return max(count(value, 0) for value in _values(schema))


def _values(schema: dict[str, Any]) -> Iterator[Any]:
    """Yield every value in a schema, without recursion."""
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        yield value
        waiting += (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )


def grammar_of(schema: dict[str, Any]) -> str:
    """Return the grammar of a checked schema, in the form that llama.cpp passes to llguidance."""
    return "%llguidance {}\nstart: %json " + json.dumps(
        {**llguidance.rewritten(schema), "x-guidance": _OPTIONS}
    )
