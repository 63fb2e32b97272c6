"""The forms of an answer, under the names of all servers."""

from typing import Any

import msgspec
import pytest

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import parse_chat, plain_body
from tests.support.bad_requests import TOOLS, USER, body

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
NAMED = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
TEXT = msgspec.json.encode(SCHEMA).decode()


@pytest.mark.parametrize(
    "asked",
    [
        {"guided_json": SCHEMA},
        {"guided_json": TEXT},
        {"json_schema": TEXT, "regex": ""},
        {"structured_outputs": {"json": SCHEMA, "disable_fallback": True}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
    ],
)
def test_json_is_a_response_format(asked: dict[str, Any]) -> None:
    """Each way to ask for JSON of a schema becomes OpenAI's."""
    assert plain_body(parse_chat(body(asked))) == plain_body(
        parse_chat(body({"response_format": NAMED}))
    )


@pytest.mark.parametrize(
    ("asked", "outputs"),
    [
        ({"guided_choice": ["a", "b"]}, {"choice": ["a", "b"]}),
        ({"structured_outputs": {"choice": ["a"]}}, {"choice": ["a"]}),
        ({"regex": r"\d+"}, {"regex": r"\d+"}),
        ({"guided_regex": r"^a\$$"}, {"regex": r"a\$"}),
        ({"guided_regex": r"a\$"}, {"regex": r"a\$"}),
        ({"structured_outputs": {"regex": "a|b"}, "tools": TOOLS, "tool_choice": "none"},
         {"regex": "a|b"}),
        ({"structured_outputs": {}}, None),
    ],
)  # fmt: skip
def test_texts_are_structured_outputs(asked: dict[str, Any], outputs: object) -> None:
    """A choice and a pattern become vLLM's, and the pattern has no anchors."""
    assert msgspec.to_builtins(parse_chat(body(asked)).structured_outputs) == outputs


@pytest.mark.parametrize(
    "pattern",
    [r"\p{L}", "(?<n>a)", r"(a)\1", "a{5,2}", "(", "[", "a**", "(?=a)", "^a$|^b$", "\n", "^$"],
)
def test_patterns_are_checked(pattern: str) -> None:
    """A pattern that an engine could not take, or could not end, is refused by its name."""
    for name in ("regex", "guided_regex"):
        with pytest.raises(InvalidRequest) as refusal:
            parse_chat(body({name: pattern}))
        assert (refusal.value.param, refusal.value.code) == (name, "invalid_value")


def test_choices_are_checked() -> None:
    """Many and long choices are refused, as a large enum is."""
    with pytest.raises(InvalidRequest, match="120,000") as refusal:
        parse_chat(body({"structured_outputs": {"choice": ["x" * 1000] * 500}}))
    assert refusal.value.param == "structured_outputs.choice"


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": {"type": "json_object"}},
        {"guided_json": {"type": "string"}},
        {"tools": TOOLS},
        {"messages": [USER], "tools": TOOLS, "tool_choice": "required"},
    ],
)
def test_one_form(more: dict[str, Any]) -> None:
    """An answer has one form, and a call of a tool has none of these."""
    assert parse_chat(body(more))
    with pytest.raises(InvalidRequest):
        parse_chat(body({"regex": "a", **more}))


@pytest.mark.parametrize("form", [{"regex": "a"}, {"guided_json": SCHEMA}, {"tools": TOOLS}])
def test_a_form_has_an_end(form: dict[str, Any]) -> None:
    """`ignore_eos` is refused where the answer must end."""
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(body({"ignore_eos": True, **form}))
    assert refusal.value.param == "ignore_eos"
