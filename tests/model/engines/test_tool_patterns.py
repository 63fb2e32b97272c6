"""Patterns of tools, so that llama.cpp writes JSON strings by them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engines.llama_cpp_chunks import request_body
from model.engines.tool_patterns import in_json, rewritten
from tests.support.model import asked

CHANGED = [
    *("^.*$", "^.{1,9}-.$", "^[^a]+$", "^[^-a]+$", "^[^a-]$", r"^[^\]b-]+$", "^[ -~]{1,5}$", "^[!-]$"),
    *("^[!-é]+$", r"^[a-z\\]+$", '^["a]+$', r"^(a|[^/]+)\.(b|.)$", r"^[\x20-\u00ff]*$", r"^[\t -~]$"),
]  # fmt: skip


@pytest.mark.parametrize("pattern", CHANGED)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_in_json(pattern: str, data: st.DataObject) -> None:
    """A text matches if it matched before and stands in a JSON string as it is."""
    found = in_json(pattern)
    assert found is not None
    text = data.draw(st.from_regex(f"{pattern[:-1]}\\Z") | st.from_regex(f"{found[:-1]}\\Z"))
    as_it_is = json.dumps(text, ensure_ascii=False) == f'"{text}"'
    assert bool(re.search(f"{found[:-1]}\\Z", text)) == (
        as_it_is and bool(re.search(f"{pattern[:-1]}\\Z", text))
    )


@pytest.mark.parametrize(
    "pattern",
    ["^[a-z]{1,9}$", r"^a\.b\[\x41$", "^[a-]$", "^[é-ÿ]+$", r"^\d.$", r"^[^\s]$", "^(?:a|b)*$"],
)
def test_unchanged(pattern: str) -> None:
    """A pattern stays if it has no such character, or if llama.cpp does not read it."""
    assert in_json(pattern) == pattern


@pytest.mark.parametrize("pattern", ['^a"$', r"^\"$", r"^C:\\.*$", r"^\x22$", r"^a\n$", '^["]$'])
def test_left_out(pattern: str) -> None:
    """A pattern that needs an escaped character is left out."""
    assert rewritten({"type": "string", "pattern": pattern}) == {"type": "string"}


def test_only_patterns() -> None:
    """Only patterns change, and only where llama.cpp makes the grammar itself."""
    text = {"type": "string", "pattern": "^.$"}
    properties = {"pattern": text, "b": {"enum": [text]}}
    parameters = {"properties": properties, "default": text}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    question = {"messages": [{"role": "user", "content": "."}], "tools": tools}

    free = request_body(asked(question))["tools"][0]["function"]["parameters"]
    forced = request_body(asked(question, tool_choice="required"))["tools"][0]["function"]

    changed = {"type": "string", "pattern": in_json("^.$")}
    assert free == {**parameters, "properties": {**properties, "pattern": changed}}
    assert forced["parameters"] == parameters
