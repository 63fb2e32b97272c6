"""No parameter of a request is lost silently.

Each one reaches the server, is rejected, or is declared inert. The test reads the parameters from
the request types. A parameter without an example fails.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import dialects
from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import (
    ChatRequest,
    CompletionRequest,
    Control,
    Rules,
    anthropic,
    parse_chat,
    parse_completion,
    responses,
)
from lambda_fn.schema.chat import INERT
from lambda_fn.schema.embeddings import EmbeddingsRequest, parse_embeddings
from lambda_fn.schema.extras import Extras
from lambda_fn.schema.tokenize import (
    DetokenizeRequest,
    TokenizeRequest,
    parse_detokenize,
    parse_tokenize,
)
from tests.support.bad_requests import GOOD, TOOLS, USER

CONTROL = Control(request_id="r", deadline_ms=5, max_prompt_tokens=9, caller="k")

CHAT: dict[str, dict[str, Any]] = {
    "model": {"model": "other"},
    "messages": {"messages": [USER, USER]},
    "stream": {"stream": True},
    "stream_options": {"stream": True, "stream_options": {"include_usage": True}},
    "max_tokens": {"max_tokens": 5},
    "max_completion_tokens": {"max_completion_tokens": 5},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "presence_penalty": {"presence_penalty": 0.5},
    "seed": {"seed": 5},
    "stop": {"stop": ["x"]},
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 5},
    "logit_bias": {"logit_bias": {"5": 5}},
    "response_format": {"response_format": {"type": "json_object"}},
    "tools": {"tools": TOOLS},
    "tool_choice": {"tools": TOOLS, "tool_choice": "required"},
    "parallel_tool_calls": {"tools": TOOLS, "parallel_tool_calls": False},
    "modalities": {"modalities": ["audio"]},
    "reasoning_effort": {"reasoning_effort": "high"},
    "reasoning": {"reasoning": {"effort": "high"}},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": True}},
    "enable_thinking": {"enable_thinking": True},
    "thinking": {"thinking": {"type": "enabled"}},
    "think": {"think": True},
    **{
        name: {name: 100}
        for name in (
            *("thinking_budget", "thinking_token_budget", "thinking_budget_tokens"),
            *("reasoning_budget", "reasoning_budget_tokens"),
            *("max_thinking_tokens", "max_reasoning_tokens"),
        )
    },
    "include_reasoning": {"include_reasoning": False},
    "reasoning_format": {"reasoning_format": "raw"},
    "separate_reasoning": {"separate_reasoning": False},
    "stream_reasoning": {"stream_reasoning": False},
    "verbosity": {"verbosity": "low"},
    "audio": {"audio": {}},
    "prediction": {"prediction": {}},
    "web_search_options": {"web_search_options": {}},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "functions": {"functions": [{"name": "f"}]},
    "function_call": {"function_call": {"name": "f"}},
    "user": {"user": "u"},
    "safety_identifier": {"safety_identifier": "s"},
    "metadata": {"metadata": {"a": "b"}},
    "store": {"store": True},
    "service_tier": {"service_tier": "flex"},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "sluice": {"sluice": {"buffer": "word"}},
    "top_k": {"top_k": 5},
    "min_p": {"min_p": 0.5},
    "typical_p": {"typical_p": 0.5},
    "top_n_sigma": {"top_n_sigma": 1.5},
    "repetition_penalty": {"repetition_penalty": 1.5},
    "repeat_penalty": {"repeat_penalty": 1.5},
    "repeat_last_n": {"repeat_last_n": 5},
    "xtc_probability": {"xtc_probability": 0.5},
    "xtc_threshold": {"xtc_threshold": 0.5},
    "dynatemp_range": {"dynatemp_range": 0.5},
    "dynatemp_exponent": {"dynatemp_exponent": 0.5},
    "mirostat": {"mirostat": 2},
    "mirostat_tau": {"mirostat_tau": 5},
    "mirostat_eta": {"mirostat_eta": 0.5},
    "min_keep": {"min_keep": 5},
    "min_tokens": {"min_tokens": 5},
    "ignore_eos": {"ignore_eos": True},
    "stop_token_ids": {"stop_token_ids": [5]},
    "bad_words": {"bad_words": ["x"]},
    "allowed_token_ids": {"allowed_token_ids": [5]},
    "include_stop_str_in_output": {"include_stop_str_in_output": True},
    "no_stop_trim": {"no_stop_trim": True},
    "skip_special_tokens": {"skip_special_tokens": False},
    "spaces_between_special_tokens": {"spaces_between_special_tokens": False},
    "truncate_prompt_tokens": {"truncate_prompt_tokens": 5},
    "truncation_side": {"truncation_side": "left"},
    "add_generation_prompt": {"add_generation_prompt": False},
    "continue_final_message": {
        "messages": [USER, {"role": "assistant", "content": "I"}],
        "continue_final_message": True,
    },
    "return_tokens_as_token_ids": {"return_tokens_as_token_ids": True},
    "cache_salt": {"cache_salt": "x"},
    "extra_key": {"extra_key": "x"},
    "n_predict": {"n_predict": 5},
    "n_cmpl": {"n_cmpl": 2},
    "structured_outputs": {"structured_outputs": {"choice": ["x", "y"]}},
    "guided_json": {"guided_json": {"type": "object"}},
    "guided_regex": {"guided_regex": "x|y"},
    "guided_choice": {"guided_choice": ["x", "y"]},
    "regex": {"regex": "x|y"},
    "json_schema": {"json_schema": {"type": "object"}},
}
"""For each parameter of a chat an example that would change the response, and what it requires."""

COMPLETION: dict[str, dict[str, Any]] = {
    "model": {"model": "other"},
    "prompt": {"prompt": "other"},
    **{
        name: CHAT[name]
        for name in (
            "stream",
            "stream_options",
            "max_tokens",
            "temperature",
            "top_p",
            "seed",
            "stop",
        )
    },
    **{
        name: CHAT[name]
        for name in ("frequency_penalty", "presence_penalty", "n", "logit_bias", "user", "sluice")
    },
    **{name: CHAT[name] for name in Extras.__struct_fields__ if name != "continue_final_message"},
    "max_completion_tokens": {"max_completion_tokens": 5},
    "response_format": CHAT["response_format"],
    "continue_final_message": {"continue_final_message": True},
    "best_of": {"best_of": 2},
    "logprobs": {"logprobs": 5},
    "echo": {"echo": True},
    "suffix": {"suffix": "x"},
}
"""The same for a completion."""

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
RESPONSE: dict[str, dict[str, Any]] = {
    "input": {"input": "other"},
    "instructions": {"instructions": "Be brief."},
    "tools": {"tools": [FUNCTION]},
    "tool_choice": {"tools": [FUNCTION], "tool_choice": "required"},
    "parallel_tool_calls": {"tools": [FUNCTION], "parallel_tool_calls": False},
    "text": {"text": {"format": {"type": "json_object"}}},
    "reasoning": {"reasoning": {"effort": "high"}},
    "truncation": {"truncation": "auto"},
    "previous_response_id": {"previous_response_id": "resp_1"},
    "conversation": {"conversation": "conv_1"},
    "stream_options": {"stream": True, "stream_options": {"include_obfuscation": True}},
    "max_output_tokens": {"max_output_tokens": 20},
    "top_logprobs": {"top_logprobs": 5},
    "include": {"include": ["message.output_text.logprobs"]},
    "background": {"background": True},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "context_management": {"context_management": [{"type": "compaction"}]},
    "max_tool_calls": {"max_tool_calls": 5},
    **{
        name: CHAT[name]
        for name in (
            *("model", "stream", "temperature", "top_p", "frequency_penalty", "presence_penalty"),
            *("seed", "stop", "logit_bias", "chat_template_kwargs", "store", "moderation"),
            *("metadata", "user", "safety_identifier", "service_tier", "prompt_cache_key"),
            *("prompt_cache_retention", "sluice"),
        )
    },
    **{name: CHAT[name] for name in Extras.__struct_fields__},
    "continue_final_message": {
        "input": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I"}],
        "continue_final_message": True,
    },
}
"""The same for a request of the Responses API."""
TOOL = {"name": "f", "input_schema": {"type": "object"}}
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}
MESSAGE: dict[str, dict[str, Any]] = {
    "model": {"model": "other"},
    "messages": {"messages": [USER, {"role": "assistant", "content": "I"}, USER]},
    "system": {"system": "Be brief."},
    "tools": {"tools": [TOOL]},
    "tool_choice": {"tools": [TOOL], "tool_choice": {"type": "any"}},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048},
    "output_config": {"output_config": {"format": FORMAT}},
    "output_format": {"output_format": FORMAT},
    "mcp_servers": {"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]},
    "max_tokens": {"max_tokens": 5},
    "stream": {"stream": True},
    "stop_sequences": {"stop_sequences": ["x"]},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "top_k": {"top_k": 5},
    "sluice": {"sluice": {"buffer": "word"}},
}
"""The same for a request of the Messages API."""
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "model": {"model": "other"},
    "input": {"input": "other"},
    "encoding_format": {"encoding_format": "base64"},
    "dimensions": {"dimensions": 5},
    "user": {"user": "u"},
}
TOKENIZE: dict[str, dict[str, Any]] = {
    "model": {"model": "other"},
    "prompt": {"prompt": "other"},
    "content": {"content": "other", "prompt": None},
    "add_special_tokens": {"add_special_tokens": False},
    "add_special": {"add_special": False},
    "messages": {"messages": [USER]},
    "return_token_strs": {"return_token_strs": True},
    "with_pieces": {"with_pieces": True},
}
DETOKENIZE: dict[str, dict[str, Any]] = {"model": {"model": "other"}, "tokens": {"tokens": [5]}}

BY_THE_FUNCTION = {"sluice", "echo", "include_reasoning", "moderation"}
"""Parameters that the function honours itself, in the response."""
COMPACTION: dict[str, dict[str, Any]] = {
    "model": {"model": "other"},
    "input": {"input": "other"},
    "instructions": {"instructions": "Be brief."},
    "previous_response_id": {"previous_response_id": "resp_1"},
    "stream": {"stream": True},
    "background": {"background": True},
    "store": {"store": True},
    "conversation": {"conversation": "conv_1"},
    "tools": {"tools": [FUNCTION]},
    **{
        name: RESPONSE[name]
        for name in ("prompt_cache_key", "prompt_cache_retention", "service_tier", "sluice")
    },
}
"""The same for a compaction."""

OF_RESPONSES = {
    *("store", "background", "previous_response_id", "conversation"),
    *("truncation", "max_tool_calls"),
}
"""Of the Responses API: what is kept, which the function honours, and what changes no response."""
SAID_BY_THE_DIALECT = {"model", "stream", "stream_options"}
"""Parameters that other servers always get with one value: the function honours the caller's
itself.
"""
Parse = Callable[[bytes], ChatRequest]


def sent(dialect: str, parse: Parse, body: dict[str, Any]) -> object:
    """Return what the server gets for a request's body.

    Raises:
        InvalidRequest: the request is rejected.

    """
    found = dialects.find(dialect)
    request = parse(json.dumps(body).encode())
    found.check(request)
    return json.loads(found.body(request, CONTROL))


def fate(
    dialect: str, parse: Parse, minimal: dict[str, Any], name: str, example: dict[str, Any]
) -> str:
    """Return what happens to a parameter: `rejected`, `forwarded`, or `dropped`."""
    with_it = {**minimal, **example}
    without_it = {**with_it, name: minimal.get(name)}
    try:
        return (
            "dropped"
            if sent(dialect, parse, with_it) == sent(dialect, parse, without_it)
            else "forwarded"
        )
    except InvalidRequest as error:
        return (
            "rejected"
            if (error.param or "").partition(".")[0] in example
            else f"rejected as {error.param}, so its example is wrong"
        )


def parse_completion_as_chat(body: bytes) -> ChatRequest:
    """Return the chat request that a completion becomes."""
    return parse_completion(body)[1]


def test_every_parameter_has_an_example() -> None:
    """A new parameter must be added to the examples."""
    assert set(CHAT) == set(ChatRequest.__struct_fields__)
    assert set(COMPLETION) == set(CompletionRequest.__struct_fields__)


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("dialect", dialects.DIALECTS)
def test_no_parameter_of_a_chat_is_lost(dialect: str, name: str) -> None:
    """A parameter is dropped if it is declared inert. Otherwise it is forwarded or rejected."""
    inert = {*INERT, *BY_THE_FUNCTION, *(SAID_BY_THE_DIALECT if dialect != "sluice" else ())}
    found = fate(dialect, parse_chat, GOOD, name, CHAT[name])
    assert found in ({"dropped"} if name in inert else {"forwarded", "rejected"})


@pytest.mark.parametrize("name", COMPLETION)
def test_no_parameter_of_a_completion_is_lost(name: str) -> None:
    """The same holds for the parameters of a completion, which becomes a chat."""
    found = fate(
        "sluice", parse_completion_as_chat, {"model": "m", "prompt": "hi"}, name, COMPLETION[name]
    )
    assert found in (
        {"dropped"} if name in {*INERT, *BY_THE_FUNCTION} else {"forwarded", "rejected"}
    )


def response_as_chat(body: bytes) -> ChatRequest:
    """Return the chat request that a request of the Responses API becomes."""
    return responses.asked(responses.parse_responses(body, kept=True)).chat


def compaction_as_chat(body: bytes) -> ChatRequest:
    """Return the chat request that a compaction becomes."""
    request = responses.parse_compact(body, kept=True)
    return responses.compacted(request, Rules(), responses.History()).chat


def message_as_chat(body: bytes) -> ChatRequest:
    """Return the chat request that a request of the Messages API becomes."""
    return anthropic.asked(anthropic.parse_messages(body)).chat


def test_every_parameter_of_the_other_requests_has_an_example() -> None:
    """A new parameter must be added to the examples."""
    assert set(RESPONSE) == set(responses.ResponsesRequest.__struct_fields__)
    assert set(COMPACTION) == set(responses.CompactRequest.__struct_fields__)
    assert set(MESSAGE) == set(anthropic.MessagesRequest.__struct_fields__)
    assert set(EMBEDDINGS) == set(EmbeddingsRequest.__struct_fields__)
    assert set(TOKENIZE) == set(TokenizeRequest.__struct_fields__)
    assert set(DETOKENIZE) == set(DetokenizeRequest.__struct_fields__)


@pytest.mark.parametrize("name", RESPONSE)
def test_no_parameter_of_a_response_is_lost(name: str) -> None:
    """The same holds for the parameters of the Responses API."""
    minimal = {"model": "m", "input": "hi"}
    found = fate("sluice", response_as_chat, minimal, name, RESPONSE[name])
    dropped = {*INERT, *BY_THE_FUNCTION, *OF_RESPONSES}
    assert found in ({"dropped"} if name in dropped else {"forwarded", "rejected"})


@pytest.mark.parametrize("name", COMPACTION)
def test_no_parameter_of_a_compaction_is_lost(name: str) -> None:
    """The same holds for the parameters of a compaction."""
    minimal = {"model": "m", "input": "hi"}
    found = fate("sluice", compaction_as_chat, minimal, name, COMPACTION[name])
    dropped = {*INERT, *BY_THE_FUNCTION, "previous_response_id"}
    assert found in ({"dropped"} if name in dropped - {"store"} else {"forwarded", "rejected"})


@pytest.mark.parametrize("name", MESSAGE)
def test_no_parameter_of_a_message_is_lost(name: str) -> None:
    """The same holds for the parameters of the Messages API."""
    minimal = {"model": "m", "max_tokens": 20, "messages": [USER]}
    found = fate("sluice", message_as_chat, minimal, name, MESSAGE[name])
    assert found in ({"dropped"} if name in BY_THE_FUNCTION else {"forwarded", "rejected"})


@pytest.mark.parametrize(
    ("parse", "minimal", "examples", "dropped"),
    [
        (lambda body: parse_embeddings(body).body(), {"model": "m", "input": "hi"}, EMBEDDINGS,
         {"model", "user"}),  # the endpoint decides the model
        (parse_tokenize, {"model": "m", "prompt": "hi"}, TOKENIZE, set()),
        (parse_detokenize, {"model": "m", "tokens": [1]}, DETOKENIZE, set()),
    ],
    ids=["embeddings", "tokenize", "detokenize"],
)  # fmt: skip
def test_no_parameter_of_a_single_call_is_lost(
    parse: Callable[[bytes], object],
    minimal: dict[str, Any],
    examples: dict[str, dict[str, Any]],
    dropped: set[str],
) -> None:
    """The same holds for the requests that one object answers."""
    for name, example in examples.items():
        with_it = {**minimal, **example}
        without_it = {**with_it, name: minimal.get(name)}
        same = outcome(parse, with_it) == outcome(parse, without_it)
        assert same == (name in dropped), name


def outcome(parse: Callable[[bytes], object], body: dict[str, Any]) -> object:
    """Return what a body becomes, or the parameter for which it is rejected."""
    try:
        return parse(json.dumps(body).encode())
    except InvalidRequest as error:
        return error.param
