"""Reasoning in the words of every client becomes one form, and what cannot be done is refused."""

import json
from typing import Any

import pytest

from lambda_fn import dialects
from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import ChatRequest, Control, parse_chat
from lambda_fn.schema.reasoning import NAMES, for_server, served, text_of, wanted
from tests.support.bad_requests import USER, body

CONTROL = Control(request_id="r", deadline_ms=5, max_prompt_tokens=9, caller="k")
OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
ON = {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}
HIGH = {"reasoning_effort": "high"}
BUDGET = {"thinking_token_budget": 100}
SAID: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *(({"reasoning_effort": it}, {"reasoning_effort": it}) for it in ("none", "xhigh", "max")),
    ({"reasoning": {"effort": "high", "summary": "detailed"}}, HIGH),
    ({"reasoning": {"effort": "high"}, "reasoning_effort": "high", "think": "high"}, HIGH),
    ({"reasoning": {"max_tokens": 100}}, BUDGET),
    ({"reasoning": {"enabled": True, "exclude": True}}, ON),
    ({"reasoning": {"enabled": False}}, OFF),
    ({"chat_template_kwargs": {"enable_thinking": False}}, OFF),
    ({"chat_template_kwargs": {"thinking": True}}, ON),
    ({"chat_template_kwargs": {"date": "today"}}, {"chat_template_kwargs": {"date": "today"}}),
    ({"enable_thinking": False}, OFF),
    ({"thinking": True}, ON),
    ({"thinking": {"type": "enabled", "budget_tokens": 100}}, ON | BUDGET),
    ({"thinking": {"type": "disabled"}}, OFF),
    ({"thinking": {"type": "adaptive"}}, {}),
    ({"think": False}, OFF),
    *(({name: 100}, BUDGET) for name in NAMES if "budget" in name or name.startswith("max_")),
    ({"thinking_budget": 0}, OFF),
    ({"reasoning_budget": -1}, {}),
    ({"reasoning_effort": "high", "thinking_budget_tokens": 100}, HIGH | BUDGET),
    ({"include_reasoning": True, "separate_reasoning": True, "reasoning_format": "parsed"}, {}),
]


def chat(change: dict[str, Any]) -> ChatRequest:
    """Return a checked request."""
    return parse_chat(body(change))


@pytest.mark.parametrize(("change", "sent"), SAID, ids=lambda it: json.dumps(it)[:70])
def test_every_spelling_has_one_form(change: dict[str, Any], sent: dict[str, Any]) -> None:
    """A server gets the effort, the template's switches and the budget, whoever's words it was."""
    assert for_server(chat(change)) == sent
    found = json.loads(dialects.find("openai").body(chat(change), CONTROL))
    assert {name: found[name] for name in sent} == sent


@pytest.mark.parametrize(
    "change",
    [
        {"include_reasoning": False},
        {"reasoning": {"exclude": True}},
        {"reasoning_format": "hidden"},
    ],
    ids=json.dumps,
)
def test_a_request_can_hide_reasoning(change: dict[str, Any]) -> None:
    """Hiding is the function's own work: the server still says what is reasoning."""
    assert wanted(chat(change)).hidden
    assert for_server(chat(change)) == {}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"reasoning_effort": "none", "thinking_budget": 5}, "reasoning_effort"),
        ({"thinking_budget": 5, "max_reasoning_tokens": 6}, "max_reasoning_tokens"),
        (
            {"think": True, "chat_template_kwargs": {"thinking": False}},
            "chat_template_kwargs.thinking",
        ),
        ({"thinking": {"type": "disabled", "budget_tokens": 9}}, "thinking.budget_tokens"),
        ({"reasoning_effort": "none", "enable_thinking": True}, "reasoning_effort"),
    ],
    ids=lambda it: json.dumps(it)[:70],
)
def test_contradictions(change: dict[str, Any], param: str) -> None:
    """Two parameters that say different things are an error, and none of them wins."""
    with pytest.raises(InvalidRequest) as refusal:
        chat(change)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"think": True}, "think"),
        ({"max_thinking_tokens": 5}, "max_thinking_tokens"),
        ({"chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs.thinking"),
    ],
    ids=lambda it: json.dumps(it)[:70],
)
def test_a_model_that_cannot(change: dict[str, Any], param: str) -> None:
    """A model that does not reason, or a server that takes nothing, says so by the field's name."""
    reasons = (
        ("does not reason", lambda: served(chat(change), reasons=False, budgets=True)),
        ("takes nothing about", lambda: dialects.find("tgi").check(chat(change))),
    )
    for why, refuse in reasons:
        with pytest.raises(InvalidRequest, match=why) as refusal:
            refuse()
        assert (refusal.value.param, refusal.value.code) == (param, "unsupported_parameter")


def test_what_is_not_needed_is_left_out() -> None:
    """A model that does not reason gets no switch, only the template's other variables."""
    asked = chat({"enable_thinking": False, "chat_template_kwargs": {"date": "today"}})
    found = served(asked, reasons=False, budgets=True)
    assert for_server(found) == {"chat_template_kwargs": {"date": "today"}}
    dialects.find("tgi").check(served(chat({"think": False}), reasons=False, budgets=True))


def test_a_server_without_budgets() -> None:
    """A budget that the server would ignore is refused; the rest is passed on."""
    with pytest.raises(InvalidRequest, match="takes no budget") as refusal:
        served(chat({"reasoning": {"max_tokens": 5}}), reasons=True, budgets=False)
    assert refusal.value.param == "reasoning.max_tokens"
    assert for_server(served(chat(HIGH), reasons=True, budgets=False)) == HIGH


THOUGHT: list[dict[str, Any]] = [
    {"reasoning_content": "why"},
    {"reasoning": "why", "reasoning_content": "why"},
    {"reasoning": {"content": "why"}},
    {"thinking": "why"},
    {"reasoning_text": "why"},
    {
        "reasoning_details": [
            {"type": "reasoning.text", "text": "wh"},
            {"type": "reasoning.summary", "summary": "y"},
            {"type": "reasoning.encrypted", "data": "c2ln"},
        ]
    },
    {"thinking_blocks": [{"type": "thinking", "thinking": "why", "signature": "s"}]},
    {"content": [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "So."}]},
    {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]}]},
    {"content": [{"type": "redacted_thinking", "data": "x"}], "reasoning": "why"},
]


@pytest.mark.parametrize("thought", THOUGHT, ids=lambda it: json.dumps(it)[:60])
def test_earlier_reasoning_goes_back_to_the_model(thought: dict[str, Any]) -> None:
    """Between tool calls and after them, the model gets what it thought, whatever its name was."""
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "content": "Sunny"}
    for more in ({}, {"tool_calls": [called]}):
        messages = [USER, {"role": "assistant", **thought, **more}, *([result] if more else [USER])]
        for dialect in ("sluice", "openai"):
            sent = json.loads(dialects.find(dialect).body(chat({"messages": messages}), CONTROL))
            assert sent["messages"][1]["reasoning_content"] == "why"
            assert sent["messages"][1].get("tool_calls", []) == more.get("tool_calls", [])
        sent = json.loads(dialects.find("tgi").body(chat({"messages": messages}), CONTROL))
        assert "reasoning_content" not in sent["messages"][1]


def test_parts_are_read_to_a_depth() -> None:
    """Nested parts are read to a depth, and what is below it is left out."""
    part: Any = "why"
    for _ in range(60):
        part = [part]
    assert text_of(part) == ""
    assert text_of([["wh"], {"text": "y"}, {"data": "x"}, 5, None]) == "why"
