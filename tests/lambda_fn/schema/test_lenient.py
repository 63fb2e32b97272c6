"""What clients of other servers send, which means the same as something of OpenAI's."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import Rules, parse_chat, plain_body
from lambda_fn.schema.lenient import relaxed
from tests.support.bad_requests import TOOLS, USER, body, call, function

ASKS = {"role": "assistant", "content": None, "tool_calls": [call()]}
ANSWER = {"role": "tool", "tool_call_id": "c1", "content": ""}
NAMED = {"type": "function", "function": {"name": "f"}}
FLAT = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}


def chat(*messages: Any) -> dict[str, Any]:
    """Return a change that sets these messages."""
    return {"messages": list(messages)}


SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no tools": ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    "no calls": (
        chat({"role": "assistant", "content": "a", "tool_calls": []}, USER),
        chat({"role": "assistant", "content": "a"}, USER),
    ),
    "no calls and no content": (
        chat({"role": "assistant", "content": None, "tool_calls": None}, USER),
        chat({"role": "assistant", "content": ""}, USER),
    ),
    "no content beside calls": (
        chat({**ASKS, "content": []}, ANSWER),
        chat(ASKS, ANSWER),
    ),
    "a tool that says null": (chat(ASKS, {**ANSWER, "content": None}), chat(ASKS, ANSWER)),
    "a tool that says nothing": (chat(ASKS, {**ANSWER, "content": []}), chat(ASKS, ANSWER)),
    "a user who says null": (
        chat({"role": "user", "content": None}),
        chat({"role": "user", "content": ""}),
    ),
    "texts as parts": (
        chat({"role": "user", "content": ["a", {"type": "input_text", "text": "b"}]}),
        chat(
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            }
        ),
    ),
    "a call without a type": (
        chat({**ASKS, "tool_calls": [{"id": "c1", "function": {"name": "f"}}]}, ANSWER),
        chat({**ASKS, "tool_calls": [call(function={"name": "f"})]}, ANSWER),
    ),
    "both limits": ({"max_tokens": 5, "max_completion_tokens": 5}, {"max_tokens": 5}),
    "no limit": ({"max_tokens": -1, "max_completion_tokens": None}, {}),
    "no limit of llama.cpp": ({"n_predict": -1}, {}),
    "empty stops": ({"stop": ["", "a", None]}, {"stop": ["a"]}),
    "an empty stop": ({"stop": ""}, {}),
    "no functions": ({"functions": [], "function_call": "auto"}, {}),
    "a tool without a type": ({"tools": [{"function": {"name": "f"}}]}, {"tools": [function()]}),
    "a flat tool": (
        {"tools": [FLAT]},
        {"tools": [function(description="d", parameters={"type": "object"})]},
    ),
    "any tool": ({"tools": TOOLS, "tool_choice": "any"}, {"tools": TOOLS, "tool_choice": "required"}),
    "any tool, as an object": (
        {"tools": TOOLS, "tool_choice": {"type": "any"}},
        {"tools": TOOLS, "tool_choice": "required"},
    ),
    "a flat choice": (
        {"tools": TOOLS, "tool_choice": {"type": "function", "name": "f"}},
        {"tools": TOOLS, "tool_choice": NAMED},
    ),
    "Anthropic's choice": (
        {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "f"}},
        {"tools": TOOLS, "tool_choice": NAMED},
    ),
}  # fmt: skip
"""What was sent, and what it means."""


@pytest.mark.parametrize("name", SAME)
def test_what_means_the_same(name: str) -> None:
    """A lenient deployment answers what is meant; with `strict` it is a 400."""
    sent, meant = SAME[name]
    assert plain_body(parse_chat(body(sent))) == plain_body(parse_chat(body(meant)))
    assert parse_chat(body(meant), Rules(strict=True))
    if name != "no limit of llama.cpp":
        with pytest.raises(InvalidRequest):
            parse_chat(body(sent), Rules(strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"stop": ["a"] * 32},
        {"n": 128},
        {"tools": [function("mcp.server/search:v1@x")]},
        {"tools": [function("f" * 128)]},
    ],
)
def test_beyond_openai(change: dict[str, Any]) -> None:
    """What servers take beyond OpenAI's bounds is taken, unless the deployment is strict."""
    assert parse_chat(body(change))
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(body(change), Rules(strict=True))
    assert str(refusal.value.param).startswith(next(iter(change)))


@pytest.mark.parametrize("messages", [[USER, ASKS, USER], [USER, ANSWER], [ASKS, ANSWER, ANSWER]])
def test_loose_histories(messages: list[dict[str, Any]]) -> None:
    """A call without its result, and a result without its call, need the setting."""
    for strict in (False, True):
        with pytest.raises(InvalidRequest):
            parse_chat(body({"messages": messages}), Rules(strict=strict))
        assert parse_chat(
            body({"messages": messages}), Rules(strict=strict, loose_tool_history=True)
        )


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.just(-1), st.sampled_from(["", "any", "tool", "user"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["type", "function", "name", "role", "content", "schema"]), inner
        ),
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["messages", "tools", "tool_choice", "stop", "max_tokens", "response_format", "prompt"]
        ),
        ANYTHING,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_body_is_rewritten(change: dict[str, Any]) -> None:
    """No body makes the rewriting fail, and a second rewriting changes nothing."""
    relaxed(change)
    again = {**change}
    relaxed(again)
    assert again == change
