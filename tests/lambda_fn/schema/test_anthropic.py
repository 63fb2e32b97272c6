"""Requests of Anthropic's Messages API: what they become, and what is rejected under which name."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn import dialects
from lambda_fn.errors import InvalidRequest, anthropic_body
from lambda_fn.schema import Control, Rules, container_body
from lambda_fn.schema.anthropic import Asked, asked, parse_count, parse_messages
from lambda_fn.schema.chat import LENIENT
from lambda_fn.schema.container import plain_body
from lambda_fn.schema.reasoning import for_server, served
from model.schema import parse_invocation

CONTROL = Control(request_id="r", deadline_ms=1000, max_prompt_tokens=100_000, caller="k")
USER = {"role": "user", "content": "Hi"}
GOOD: dict[str, Any] = {"model": "m", "max_tokens": 20, "messages": [USER]}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}
SOURCE = {"type": "base64", "media_type": "image/png", "data": "eA=="}
IMAGE = {"type": "image", "source": SOURCE}
CLAUDE_CODE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 32_000,
    "stream": True,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.1; cch=eb6c6;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>Plan.</system-reminder>"},
                {"type": "text", "text": "Fix it.", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {"role": "system", "content": "Available agent types: none"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look first.", "signature": "forged"},
                {"type": "redacted_thinking", "data": "???"},
                {"type": "text", "text": "I look."},
                {**USE, "caller": {"type": "direct"}},
                {**USE, "id": "t2", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Go on."},
                {**RESULT, "tool_use_id": "t2", "is_error": True},
                {
                    **RESULT,
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
            ],
        },
    ],
    "tools": [{**TOOL, "eager_input_streaming": True}, {**TOOL, "name": "mcp__" + "n" * 123}],
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "user_0_account__session_0"},
}


def read(change: dict[str, Any], rules: Rules = LENIENT) -> Asked:
    """Return the request `GOOD` with changes, translated. A change of `...` removes a member."""
    body = {name: it for name, it in {**GOOD, **change}.items() if it is not ...}
    return asked(parse_messages(json.dumps(body).encode()), rules)


def body_of(change: dict[str, Any]) -> dict[str, Any]:
    """Return the container's body."""
    found: dict[str, Any] = json.loads(container_body(read(change).chat, CONTROL))
    return found


def test_claude_code() -> None:
    """Each part of Claude Code's requests reaches the model, or has no meaning for it."""
    body = body_of(CLAUDE_CODE)
    system, user, assistant, *results, rest = body["messages"]
    assert system["content"] == "You are Claude Code.\n\nAvailable agent types: none"
    assert user["content"] == "<system-reminder>Plan.</system-reminder>\nFix it."
    assert assistant["content"] == "I look."
    calls = [(call["id"], call["function"]["arguments"]) for call in assistant["tool_calls"]]
    assert [(name, json.loads(text)) for name, text in calls] == [("t1", {"a": 1}), ("t2", {})]
    assert [(it["tool_call_id"], it["content"]) for it in results] == [
        ("t2", "Error: sunny"),
        ("t1", "a\nb"),
    ]
    assert rest == {"role": "user", "content": "Go on."}
    assert len(body["tools"][1]["function"]["name"]) == 128
    assert "forged" not in json.dumps(body)
    assert parse_invocation(json.dumps(body).encode())
    assert read(CLAUDE_CODE).thinking


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "auto"}, ("auto", None)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", False)),
        ({"type": "none"}, ("none", None)),
        (
            {"type": "tool", "name": "f", "disable_parallel_tool_use": False},
            ({"type": "function", "function": {"name": "f"}}, True),
        ),
    ],
)
def test_tool_choice(given: dict[str, Any], expected: Any) -> None:
    """Each choice has its counterpart."""
    body = body_of({"tools": [TOOL], "tool_choice": given})
    assert (body["tool_choice"], body.get("parallel_tool_calls")) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
    ],
)
def test_a_schema_of_the_output(change: dict[str, Any]) -> None:
    """A schema is the chat's response format."""
    form = body_of(change)["response_format"]
    assert (form["type"], form["json_schema"]["schema"]) == ("json_schema", {"type": "object"})


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "enabled"}, True),
        ({"type": "enabled", "budget_tokens": 2048}, True),
        ({"type": "adaptive", "display": "omitted"}, False),
    ],
)
def test_thinking_is_a_switch(thinking: Any, *, shown: bool) -> None:
    """Thoughts are shown if the request asks for them. The model is told whether to think, unless
    it cannot.
    """
    found = read({"thinking": thinking})
    assert found.thinking is shown
    thinks = thinking is not None and thinking["type"] != "disabled"
    told = {"chat_template_kwargs": {"enable_thinking": thinks, "thinking": thinks}}
    for reasons, budgets, expected in ((True, True, told), (True, False, told), (False, True, {})):
        chat = served(found.chat, reasons=reasons, budgets=budgets, soft=True)
        assert for_server(chat) == expected


@pytest.mark.parametrize("name", dialects.DIALECTS)
@pytest.mark.parametrize("thinking", [None, {"type": "adaptive"}, {"type": "disabled"}])
def test_no_server_refuses_the_switch(name: str, thinking: Any) -> None:
    """A request that says nothing else is answered by every server, whatever it says of thinking,
    and counted.
    """
    chat = read({"thinking": thinking, "output_config": {"effort": "high"}}).chat
    dialect = dialects.find(name)
    chat = served(chat, reasons=True, budgets=True, soft=True, switches=dialect.switches)
    dialect.check(chat)
    assert dialect.body(chat, CONTROL)
    assert json.loads(dialect.count(chat, CONTROL)).get("max_tokens", 1) == 1


def test_images_become_parts_of_a_chat() -> None:
    """An image is a data URL or an https URL, of the user and in results. The model's limits of
    images are checked later, as those of a chat.
    """
    url = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    change = called(USE, results=[url, {**RESULT, "content": [IMAGE, url]}])
    messages = body_of(change)["messages"]
    urls = [part["image_url"]["url"] for it in messages[2:] for part in it["content"]]
    here, there = "data:image/png;base64,eA==", "https://example.com/a.png"
    assert urls == [here, there, there]
    assert read(change).images == (
        "messages[2].content[1].content[0].source",
        "messages[2].content[1].content[1].source",
        "messages[2].content[0].source",
    )


def test_a_loose_history() -> None:
    """With the setting, calls and results may stand alone, as in chats. Otherwise see `BAD`."""
    turns = [
        {"role": "user", "content": [RESULT]},
        {"role": "assistant", "content": [USE]},
        USER,
        {"role": "assistant", "content": [USE]},
    ]
    chat = read({"messages": turns}, Rules(loose_tool_history=True)).chat
    assert [message.__struct_config__.tag for message in chat.messages] == [
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    with pytest.raises(InvalidRequest):
        read({"messages": turns}, Rules(strict=True))


def test_turns_of_one_role_are_one() -> None:
    """Consecutive turns become one, and an unfinished answer of the model stays the last."""
    turns = [USER, USER, {"role": "assistant", "content": "A"}]
    found = body_of({"messages": [*turns, {"role": "assistant", "content": []}]})["messages"]
    assert found == [
        {"role": "user", "content": "Hi\nHi"},
        {"role": "assistant", "content": "A"},
    ]


def said(*blocks: Any, role: str = "user") -> dict[str, Any]:
    """Return a change that sets one turn, after which nothing comes."""
    return {"messages": [{"role": role, "content": list(blocks)}]}


def called(*blocks: Any, results: Any = (RESULT,)) -> dict[str, Any]:
    """Return a change with an assistant's turn and the user's turn after it."""
    turns = [{"role": "assistant", "content": list(blocks)}, {"role": "user", "content": results}]
    return {"messages": [USER, *turns]}


DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"items": DEEP}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": ...}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"model": ...}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"system": [IMAGE]}, "system[0].type"),
    ({"system": "a\0b"}, "system"),
    (said({"type": "smell"}), "messages[0].content[0].type"),
    (said({"type": "document", "source": {}}), "messages[0].content[0].type"),
    (said({"type": "image", "source": {"type": "file", "file_id": "x"}}),
     "messages[0].content[0].source.type"),
    (said({"type": "image", "source": {"type": "url", "url": ""}}),
     "messages[0].content[0].source.url"),
    (said({"type": "image", "source": {**SOURCE, "data": ""}}),
     "messages[0].content[0].source.data"),
    (said({"type": "image", "source": {**SOURCE, "media_type": "image/svg+xml"}}),
     "messages[0].content[0].source.media_type"),
    (called(USE, results=[{**RESULT, "content": [
        {"type": "image", "source": {**SOURCE, "media_type": "text/html"}}]}]),
     "messages[2].content[0].content[0].source.media_type"),
    (said({"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}, role="assistant"),
     "messages[0].content[0].type"),
    (said({"type": "mcp_tool_use"}, role="assistant"), "messages[0].content[0].type"),
    (said({"type": "code_execution_tool_result"}), "messages[0].content[0].type"),
    (said({"type": "thinking", "thinking": "x"}), "messages[0].content[0].type"),
    (said(USE), "messages[0].content[0].type"),
    (said(RESULT, role="assistant"), "messages[0].content[0].type"),
    (said(IMAGE, role="system"), "messages[0].content[0].type"),
    (said(RESULT), "messages[0].content[0].tool_use_id"),
    (said(USE, role="assistant"), "messages[0]"),
    (called(USE, results="no"), "messages[1]"),
    (called(USE, USE), "messages[1].content[1].id"),
    (called(USE, results=[RESULT, RESULT]), "messages[2].content[1].tool_use_id"),
    (called({**USE, "input": "[1]"}), "messages[1].content[0].input"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
    ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "tools[0].type"),
    ({"tools": [{**TOOL, "name": "f g"}]}, "tools[0].name"),
    ({"tools": [{**TOOL, "name": "f" * 129}]}, "tools[0].name"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tools": [{**TOOL, "input_schema": DEEP}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
    ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice.type"),
    ({"mcp_servers": [{"url": "https://example.com"}]}, "mcp_servers"),
    ({"output_config": {"format": {"type": "json_schema", "schema": DEEP}}},
     "output_config.format.schema"),
    ({"output_format": {"type": "json_schema", "schema": DEEP}}, "output_format.schema"),
    ({"output_config": {"format": {"type": "regex"}}}, "output_config.format.type"),
    ({"thinking": {"type": "on"}}, "thinking.type"),
    ({"temperature": 3}, "temperature"),
    ({"stop_sequences": [""]}, "stop_sequences[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param"), BAD, ids=lambda it: it if isinstance(it, str) else "")
def test_what_is_wrong_is_named(change: dict[str, Any], param: str) -> None:
    """A member that cannot be honoured is rejected by its path here, in Anthropic's form."""
    with pytest.raises(InvalidRequest) as refused:
        read(change)
    assert refused.value.param == param
    body = json.loads(anthropic_body(refused.value, "r"))
    assert body["error"]["type"] == "invalid_request_error"
    assert "function" not in body["error"]["message"]


BLOCKS = st.one_of(
    st.sampled_from(
        [USE, RESULT, IMAGE, {**USE, "id": "t2"}, {**RESULT, "is_error": True}, {"type": "smell"}]
    ),
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=5)}),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": st.text(max_size=5)}),
    st.dictionaries(st.sampled_from(["type", "text", "id", "input"]), st.integers() | st.text()),
)
TURNS = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.text(max_size=5) | st.lists(BLOCKS, max_size=4),
    }
)


@settings(max_examples=60)
@given(turns=st.lists(TURNS, max_size=5), tools=st.lists(st.just(TOOL), max_size=2))
def test_any_conversation_is_taken_or_named(turns: list[Any], tools: list[Any]) -> None:
    """A conversation is rejected by the path of a member, or our container takes it whole."""
    try:
        chat = read({"messages": turns, "tools": tools}).chat
    except InvalidRequest as error:
        if not error.param:
            raise
        return
    parse_invocation(container_body(chat, CONTROL))
    given_texts = [turn["content"] for turn in turns if isinstance(turn["content"], str)]
    taken = json.dumps(plain_body(chat)["messages"], default=lambda it: it.content)
    assert all(json.dumps(text)[1:-1] in taken for text in given_texts)


def test_a_count_needs_no_limit() -> None:
    """A count has the members that make the prompt; others are ignored."""
    found = asked(parse_count(json.dumps({"model": "m", "messages": [USER]}).encode())).chat
    whole = read({}).chat
    assert (found.messages, found.max_tokens) == (whole.messages, None)
