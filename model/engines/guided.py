"""Makes grammars from callers' JSON schemas. Pure.

llguidance, which is part of llama.cpp here, guides by schemas. It compiles an `enum` of any number
of strings into one automaton. llama.cpp's own grammars compare every alternative with the whole
vocabulary at every token. llama.cpp still makes its own grammar from tools that a model may call;
`schema_guard` bounds what it follows at once.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from model.engines import forced_call, llguidance
from model.engines.search_pattern import anchored
from model.errors import InvalidRequestError
from schema_guard import plain

if TYPE_CHECKING:
    from model.extras import StructuredOutputs
    from model.schema import ChatRequest

# llguidance ignores members that it does not know, as llama.cpp does. White space is bounded,
# because small models write much of it.
_OPTIONS = {"lenient": True, "coerce_one_of": True, "whitespace_pattern": " |\\n{1,2}[ \\t]{0,20}"}
_ANY_OBJECT = {"type": "object"}
_LLGUIDANCE = "%llguidance {}\nstart: "
JSON = f"{_LLGUIDANCE}%json "
"""How the grammars of JSON begin."""
_SLASH = re.compile(r"\\.|/", re.DOTALL)


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


def grammar_of(schema: dict[str, Any]) -> str:
    """Return the grammar of a checked schema, in the form that llama.cpp passes to llguidance."""
    return JSON + json.dumps({**llguidance.rewritten(schema), "x-guidance": _OPTIONS})


def text_grammar_of(form: StructuredOutputs) -> str:
    """Return the grammar of an answer that is one of some texts, or matches a checked pattern.

    Raises InvalidRequestError for a pattern that llguidance cannot express.
    """
    if form.choice is not None:
        return _LLGUIDANCE + " | ".join(map(json.dumps, form.choice))
    assert form.regex is not None  # noqa: S101 - the form has one of the two
    if anchored(f"^(?:{form.regex})$") is None:
        raise InvalidRequestError(
            "structured_outputs.regex: this engine cannot express the pattern",
            "structured_outputs.regex",
        )
    pattern = _SLASH.sub(lambda found: "\\/" if found[0] == "/" else found[0], form.regex)
    return f"{_LLGUIDANCE}/(?:{pattern})/"
