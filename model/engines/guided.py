"""JSON schemas of callers to grammars, and how large one may be. Pure.

Schemas are guided by llguidance, which is part of llama.cpp here: it takes any number of strings in an `enum` as one
automaton, where llama.cpp's own grammars compare every alternative with the whole vocabulary at every token. Tools that
a model may call as it likes are the exception: llama.cpp makes a grammar of its own from them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from model.engines import forced_call
from model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model.schema import ChatRequest

MAX_TEXT = 128 * 1024  # characters of JSON, all schemas of a request together
MAX_VALUES = 8192
MAX_DEPTH = 64
MAX_TOOL_ALTERNATIVES = 512  # at one place of the parameters of tools that may be called: see above

# What llguidance does not know is ignored, as llama.cpp does; white space is bounded, because small models love it.
_OPTIONS = {"lenient": True, "coerce_one_of": True, "whitespace_pattern": " |\\n{1,2}[ \\t]{0,20}"}
_ONE = ("items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_ANY_OBJECT = {"type": "object"}


def schema_of(request: ChatRequest) -> dict[str, Any] | None:
    """The schema that guides the answer from its first token on; None leaves it free."""
    if request.must_call:
        tools = [tool.model_dump(exclude_none=True)["function"] for tool in request.visible_tools]
        return forced_call.schema(tools)
    form = request.response_format
    if form is None or form.type == "text":
        return None
    if form.json_schema is None or form.type == "json_object":
        return _ANY_OBJECT
    return form.json_schema.schema_


def check(request: ChatRequest) -> None:
    """Raise InvalidRequestError for schemas that are too large to be guided, before anything native sees them."""
    form = request.response_format
    if form is not None and form.json_schema is not None:
        _check([form.json_schema.schema_], "response_format")
    parameters = [tool.function.parameters or {} for tool in request.visible_tools]
    _check(parameters, "tools")
    if schema_of(request) is None:
        for schema in parameters:
            if _alternatives(schema) > MAX_TOOL_ALTERNATIVES:
                why = f"allows more than {MAX_TOOL_ALTERNATIVES} forms at one place"
                raise _too_large("tools", f"{why}, which are allowed where tool_choice asks for the call")


def _check(schemas: list[dict[str, Any]], param: str) -> None:
    for values, (_, depth) in enumerate(_values(schemas)):
        if depth > MAX_DEPTH:
            raise _too_large(param, f"is nested deeper than {MAX_DEPTH} levels")
        if values > MAX_VALUES:
            raise _too_large(param, f"has more than {MAX_VALUES} values")
    size = len(json.dumps(schemas, separators=(",", ":")))
    if size > MAX_TEXT:
        raise _too_large(param, f"has {size} characters, {MAX_TEXT} are allowed")


def _alternatives(schema: dict[str, Any]) -> int:
    """The most forms that llama.cpp's grammar has to follow at once at any place, counted no further than too many."""
    known: dict[int, int] = {}

    def count(value: Any, depth: int) -> int:
        if not isinstance(value, dict):
            return 1
        if depth > MAX_DEPTH:  # a chain of references that leads nowhere, or back
            return MAX_TOOL_ALTERNATIVES + 1
        if id(value) not in known:
            known[id(value)] = min(one(value, depth), MAX_TOOL_ALTERNATIVES + 1)
        return known[id(value)]

    def one(value: dict[str, Any], depth: int) -> int:
        forms = [len(value[key]) for key in ("enum", "type", "properties") if isinstance(value.get(key), list | dict)]
        joined = [value[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(value.get(key), list)]
        forms += [count(item, depth + 1) for members in joined for item in members]
        if isinstance(value.get("$ref"), str):
            forms.append(count(_target(schema, value["$ref"]), depth + 1))
        return max(1, sum(forms))

    return max(count(value, 0) for value, _ in _values([schema]))


def _target(schema: dict[str, Any], reference: str) -> Any:
    value: Any = schema
    for part in reference.removeprefix("#").strip("/").split("/"):
        value = value.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) and part else value
    return value


def _too_large(param: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param}: the schema {why}; make it smaller, or leave part of it out", param)


def _values(schemas: list[dict[str, Any]]) -> Iterator[tuple[Any, int]]:
    """Every value with its depth, without recursion."""
    waiting: list[tuple[Any, int]] = [(schemas, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(item, depth + 1) for item in inner]


def grammar_of(schema: dict[str, Any]) -> str:
    """The grammar of a schema that was checked, in the form that llama.cpp hands to llguidance."""
    return "%llguidance {}\nstart: %json " + json.dumps({**_closed(schema), "x-guidance": _OPTIONS})


def _closed(schema: Any) -> Any:
    """The schema whose objects have the properties that it names and no others, unless it says so itself.

    So it is with llama.cpp; a small model would invent more and more of them. Members of `allOf` stay as they are:
    closed, none of them would take the others' properties.
    """
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    for key in _ONE:
        if key in schema:
            closed[key] = _closed(schema[key])
    for key in _LISTS:
        if isinstance(schema.get(key), list):
            closed[key] = [_closed(item) for item in schema[key]]
    for key in _MAPS:
        if isinstance(schema.get(key), dict):
            closed[key] = {name: _closed(item) for name, item in schema[key].items()}
    closed.pop("x-guidance", None)  # the options are ours
    if "properties" in schema and not {"allOf", "patternProperties", "unevaluatedProperties"} & schema.keys():
        closed.setdefault("additionalProperties", False)
    return closed
