"""The two checks of a request, the function's and the container's, over one corpus.

A request that only the container refuses is refused after it was admitted. So what the function
lets through, the container must take, and every engine must answer.
"""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import Control, container_body, parse_chat
from model.errors import InvalidRequestError
from model.schema import ChatRequest, parse_invocation
from model.schema import parse_chat as parse_in_container
from tests.support import histories
from tests.support.bad_requests import ACCEPTED, BAD, HABITS, TOOLS, USER, Bad, body, function
from tests.support.model import settings_for, started

CONTROL = Control(request_id="r", deadline_ms=30_000, max_prompt_tokens=100_000, caller="k")

BY_THE_FUNCTION = {
    "the container serves one model": ["model"],
    "OpenAI's rules for a conversation, which no engine needs": [
        "messages[0].tool_calls",
        "messages[0].function_call",
        "messages[1].tool_calls",
        "messages[1].role",
        "messages[1].tool_call_id",
    ],
    "the function sends one limit only": ["max_tokens"],
    "a conversation's end is checked by the function": ["continue_final_message"],
    "the engine compares both": ["min_tokens"],
    "the container does not read it": [
        *("modalities", "audio", "prediction", "web_search_options", "functions"),
        *("moderation.model", "moderation.policy.output.mode"),
        *("function_call", "verbosity", "metadata", "store", "service_tier"),
        *("user", "response_format.json_schema.name"),
        *("guided_choice", "guided_json", "guided_json.minItems", "guided_regex", "regex"),
        "repeat_penalty",
        *("reasoning", "reasoning.effort", "reasoning.context", "thinking.type"),
        *("thinking_budget", "separate_reasoning", "reasoning_format"),
    ],
    "it gets one form of what says the same, without contradictions": ["reasoning_effort"],
    "the engine says it": [
        "chat_template_kwargs.messages",
        "chat_template_kwargs.enable_thinking",
    ],
    "refused for every server": [
        *("guided_grammar", "chat_template", "logits_processors", "use_beam_search"),
    ],
    "NUL characters": ["messages[0].content", "response_format.json_schema.schema.title"],
}
"""The fields that the function alone checks, each with the reason."""
ALONE = {param for params in BY_THE_FUNCTION.values() for param in params}


def taken(change: dict[str, Any]) -> ChatRequest | None:
    """Return a request as the container reads it, or None if the function rejects it.

    Raises InvalidRequestError if only the container rejects it.
    """
    try:
        request = parse_chat(body(change))
    except InvalidRequest:
        return None
    found = parse_invocation(container_body(request, CONTROL))
    assert isinstance(found, ChatRequest)
    found.check_schemas()
    return found


@pytest.mark.parametrize(
    "change", [row for rows in ACCEPTED.values() for row in rows], ids=lambda it: str(it)[:60]
)
def test_what_is_accepted_is_taken(change: dict[str, Any]) -> None:
    """The container takes what is accepted at the edges of the limits."""
    assert taken(change) is not None


def test_what_is_rejected_is_refused() -> None:
    """The container refuses what the function rejects, but for exactly what the table says."""

    def is_taken(bad: Bad) -> bool:
        try:
            parse_in_container(body(bad.change)).check_schemas()
        except InvalidRequestError:
            return False
        return True

    assert {bad.param for bad in BAD if not bad.strict and is_taken(bad)} == ALONE


def _call(arguments: Any, **more: Any) -> dict[str, Any]:
    """Return a conversation with one call of these arguments, and its result."""
    function = {"name": "f", "arguments": arguments}
    calls = [{"id": "c1", "type": "function", "function": function}]
    asked = {"role": "assistant", "content": None, "tool_calls": calls, **more}
    return {"messages": [USER, asked, {"role": "tool", "tool_call_id": "c1", "content": "Sunny"}]}


def _tool(**properties: Any) -> dict[str, Any]:
    """Return tools of which one has these properties."""
    parameters = {"type": "object", "properties": properties}
    return {"tools": [function("good"), function("f", parameters=parameters)]}


_ARGUMENTS = "messages[1].tool_calls[0].function.arguments"
REPORTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "vllm-project/vllm#19419": (_call(""), None),
    "sigoden/aichat#1217": (_call("", content=""), None),
    "local-inference-lab/vllm#684": (_call('{"value": '), _ARGUMENTS),
    "noonghunna/club-3090#1195": (_call('{"city": "Par'), _ARGUMENTS),
    "sgl-project/sglang#28035 text": (_call('"Beijing"'), _ARGUMENTS),
    "sgl-project/sglang#28035 list": (_call('["Beijing"]'), _ARGUMENTS),
    "mistralai/mistral-common#324": (_call('{"location":"Paris"}'), None),
    "vllm-project/vllm#21089": (
        {"messages": [USER, {"role": "assistant", "content": ""}, USER]},
        None,
    ),
    "vercel/ai#14950": (
        {"messages": [USER, {"role": "assistant", "content": None}, USER]},
        None,
    ),
    "mezmo/aura#358": (_tool(extra=True), None),
    "can1357/oh-my-pi#5914": (_tool(task={"type": "string"}, outputSchema=True), None),
    "ggml-org/llama.cpp#27580": (_tool(id={"type": "string", "pattern": r"^\d+$"}), None),
    "ggml-org/llama.cpp#16714": (
        _tool(id={"type": "string", "pattern": r"^(anon-)?\d{11,}$"}),
        None,
    ),
    "ggml-org/llama.cpp#26550": (
        _tool(
            a={"type": "string", "pattern": r"\S", "maxLength": 8192},
            b={"type": "array", "items": {"type": "string"}, "maxItems": 10_000},
        ),
        None,
    ),
    "ggml-org/llama.cpp#25746": (
        _tool(o={"type": "object", "properties": {"s": {"type": "string", "pattern": r"^\S+$"}}}),
        None,
    ),
    "ggml-org/llama.cpp#14227": (_tool(width={"anyOf": [{"type": "number"}]}), None),
    "openai-php/client#262": (
        {"tools": [function("f", parameters={"type": "object", "properties": []})]},
        None,
    ),
    "laravel/boost#220": (
        {
            "tools": [
                function(
                    "list-available-config-keys",
                    parameters={"additionalProperties": None, "properties": [], "type": "object"},
                )
            ]
        },
        None,
    ),
    "netclaw-dev/netclaw#516": (
        {
            "tools": [
                function(
                    "f",
                    parameters={
                        "$schema": "http://json-schema.org/draft-07/schema#",
                        "type": "object",
                        "properties": {"filters": {"type": "object", "additionalProperties": {}}},
                    },
                )
            ]
        },
        None,
    ),
    "anthropics/claude-code#77106": (
        _tool(root={"$ref": "#/properties/node"}, node={"type": "object", "properties": {}}),
        None,
    ),
    "BerriAI/litellm#1530": ({"max_tokens": 256.0}, None),
    "langchain-ai/langchain#22636": ({"max_tokens": -1}, None),
    "0xPlaygrounds/rig#1362": (_call("{}", content=[]), None),
    "BerriAI/litellm#18921": ({"stop": [f"stop {number}" for number in range(12)]}, None),
    "redhat-community-ai-tools/UnifAI#266": ({"tools": [function("a.b")]}, None),
    "camel-ai/camel#1585": ({"tools": None, "tool_choice": None}, None),
    "vllm-project/vllm#4597": ({"guided_choice": ["positive", "negative"]}, None),
    "diffbot/code-gpt-docs#273": ({"max_tokens": "800"}, "max_tokens"),
}
"""What clients sent, by the public report of it, and the field that is wrong, if one is."""


async def test_public_reports() -> None:
    """Each request of a public report is answered, or rejected by the field's name."""
    async with started(settings_for("llama_cpp", context_tokens=4096)) as engine:
        for source, (change, param) in REPORTS.items():
            if param is not None:
                with pytest.raises(InvalidRequest) as refusal:
                    parse_chat(body(change))
                assert refusal.value.param == param, source
                continue
            asked = taken(
                {"max_completion_tokens": 1, **change} if "max_tokens" not in change else change
            )
            assert asked is not None, source
            async with contextlib.aclosing(engine.generate(asked)) as batches:
                assert await anext(batches), source


async def test_no_tool_spoils_the_request_of_another() -> None:
    """llama.cpp answers requests with tools of any client's habits, whether it may or must call.

    The good tool beside them is called.
    """
    good = function("good", parameters={"type": "object", "properties": {"q": {"type": "string"}}})
    one = {"type": "function", "function": {"name": "good"}}
    async with started(settings_for("llama_cpp", context_tokens=4096)) as engine:
        for name, parameters in HABITS.items():
            for choice in ("auto", "required", one):
                tools = [good, function("odd", parameters=parameters)]
                asked = taken({"tools": tools, "tool_choice": choice, "max_tokens": 1})
                assert asked is not None, name
                async with contextlib.aclosing(engine.generate(asked)) as batches:
                    assert [batch async for batch in batches], name


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy of values, or null."""
    return st.one_of(st.none(), strategy)


def near(low: int, high: int) -> st.SearchStrategy[Any]:
    """Return a strategy of whole numbers about two limits, also as decimals."""
    numbers = st.sampled_from([low - 1, low, low + 1, high - 1, high, high + 1])
    return st.one_of(numbers, numbers.map(float), st.sampled_from([low + 0.5, -0.0, 1e3]))


CHOICES = st.sampled_from(
    [
        *("none", "auto", "required", "any", "", {}, {"type": "auto"}),
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": {"name": "g"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS}},
    ]
)
FORMS = st.sampled_from(
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": None},
        {"type": "json_schema", "json_schema": {"name": "a"}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": None, "strict": None}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        {"type": "json_object", "json_schema": None, "schema": {}},
    ]
)
STRINGS = st.sampled_from(["", "x", "x" * 1000, "x" * 1001, "\ud7ff"])
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "messages": histories.HISTORIES,
        "stream": maybe(st.booleans()),
        "stream_options": maybe(
            st.sampled_from(
                [{}, {"include_usage": True}, {"include_usage": None}, {"include_obfuscation": 1}]
            )
        ),
        "max_tokens": maybe(near(1, 10_000_000)),
        "max_completion_tokens": maybe(near(1, 10_000_000)),
        "temperature": maybe(near(0, 2)),
        "top_p": maybe(near(0, 1)),
        "frequency_penalty": maybe(near(-2, 2)),
        "presence_penalty": maybe(near(-2, 2)),
        "seed": maybe(near(-(2**63), 2**63 - 1)),
        "stop": maybe(st.one_of(STRINGS, st.lists(STRINGS, max_size=5))),
        "n": maybe(near(1, 8)),
        "logprobs": maybe(st.booleans()),
        "top_logprobs": maybe(near(0, 20)),
        "logit_bias": maybe(
            st.dictionaries(st.sampled_from(["5", "-1", "a", "5\n"]), near(-100, 100), max_size=2)
        ),
        "response_format": maybe(FORMS),
        "tools": maybe(st.sampled_from([[], TOOLS, TOOLS * 2])),
        "tool_choice": maybe(CHOICES),
        "parallel_tool_calls": maybe(st.booleans()),
        "top_k": maybe(near(-1, 1_000_000)),
        "min_p": maybe(near(0, 1)),
        "repetition_penalty": maybe(near(0, 2)),
        "repeat_last_n": maybe(near(0, 65_536)),
        "mirostat": maybe(near(0, 2)),
        "min_tokens": maybe(near(0, 3)),
        "ignore_eos": maybe(st.booleans()),
        "stop_token_ids": maybe(st.lists(near(0, 2**31 - 1), max_size=2)),
        "bad_words": maybe(st.lists(STRINGS, max_size=2)),
        "truncation_side": maybe(st.sampled_from(["left", "right", "up"])),
        "guided_choice": maybe(st.lists(STRINGS, max_size=2)),
        "regex": maybe(st.sampled_from(["", "a|b", "^[0-9]{2}$", "(a+)+", "(?=a)", "$^", "/"])),
        "json_schema": maybe(st.sampled_from([{}, "{}", "", "[]", {"type": "int"}])),
        "reasoning_effort": maybe(st.sampled_from(["none", "minimal", "max", "huge"])),
        "reasoning": maybe(st.sampled_from([{}, {"max_tokens": 5}, {"enabled": False}])),
        "thinking_budget": maybe(near(0, 10_000_000)),
        "chat_template_kwargs": maybe(
            st.dictionaries(
                st.sampled_from(["enable_thinking", "a", "", "a-b", "x" * 65]),
                st.one_of(st.booleans(), st.none(), st.floats(), near(-(2**31), 2**31), STRINGS),
                max_size=3,
            )
        ),
    },
)


def few(most: int) -> settings:
    """Return Hypothesis' settings for a number of examples."""
    return settings(
        max_examples=most,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@given(PARAMETERS)
@few(400)
def test_whatever_is_let_through_is_taken(change: dict[str, Any]) -> None:
    """The container takes every request that the function lets through, with the same meaning."""
    found = taken(change)
    if found is not None:
        assert found.n == (change.get("n") or 1)
        assert found.limit == (change.get("max_tokens") or change.get("max_completion_tokens"))


ENGINES: dict[str, list[dict[str, Any]]] = {
    "vllm": [{}, {"response_format": {"type": "json_object"}}],
    "llama_cpp": [
        {},
        {"response_format": {"type": "json_object"}},
        *({"tools": TOOLS, "tool_choice": choice} for choice in ("auto", "none", "required")),
    ],
}
"""The engines, and what their answers may be guided by."""


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_answers(name: str) -> None:
    """An engine answers every conversation that the function lets through: none is its failure."""

    async def answer(asked: ChatRequest) -> None:
        async with contextlib.aclosing(engine.generate(asked)) as batches:
            async for _ in batches:
                pass

    @given(histories.HISTORIES, st.sampled_from(ENGINES[name]))
    @few(60)
    def check(messages: list[dict[str, Any]], more: dict[str, Any]) -> None:
        asked = taken({"messages": messages, "max_tokens": 2, **more})
        if asked is not None:
            runner.run(answer(asked))

    with asyncio.Runner() as runner:
        running = started(settings_for(name, context_tokens=4096))
        engine = runner.run(running.__aenter__())
        try:
            for messages in histories.HABITS.values():
                for more in ENGINES[name]:
                    asked = taken({"messages": messages, "max_tokens": 2, **more})
                    assert asked is not None
                    runner.run(answer(asked))
            check()
        finally:
            runner.run(running.__aexit__(None, None, None))
