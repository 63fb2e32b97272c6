"""Required tool calls by a JSON schema: the schema of the answer, and the parsing of its text."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from model.engines.forced_call import CallReader, schema

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.dictionaries(st.text(), values, max_size=3),
    st.lists(st.integers(0, 400)),
    st.sampled_from(["", " ", "\n  "]),
)
def test_read_back(arguments: dict[str, Any], cuts: list[int], space: str) -> None:
    """However the text is cut, the fragments make one call with the arguments of the text."""
    text = f'{{{space}"name":{space}"f", "arguments":{space}{json.dumps(arguments)}{space}}}{space}'
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    reader = CallReader()
    pieces = [
        piece for start, end in itertools.pairwise(places) for piece in reader.feed(text[start:end])
    ]
    assert pieces[0]["function"] == {"name": "f", "arguments": ""}
    assert [piece.get("id") is not None for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert "".join(piece["function"]["arguments"] for piece in pieces) == json.dumps(arguments)


def test_schema() -> None:
    """Each function is one alternative of the schema. References in its parameters still work."""
    parameters = {
        "type": "object",
        "properties": {"color": {"$ref": "#/$defs/C"}, "$ref": {"type": "string"}},
        "$defs": {"C": {"enum": ["red"]}},
    }
    found = schema([{"name": "paint", "parameters": parameters}, {"name": "stop"}])
    assert [form["properties"]["name"] for form in found["anyOf"]] == [
        {"const": "paint"},
        {"const": "stop"},
    ]
    moved = found["$defs"]["tool0"]
    assert moved["properties"]["color"] == {"$ref": "#/$defs/tool0/$defs/C"}
    assert moved["properties"]["$ref"] == {"type": "string"}
    assert found["$defs"]["tool1"]["additionalProperties"] is False
