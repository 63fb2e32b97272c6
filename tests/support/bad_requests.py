"""Chat requests that are rejected, as a table.

A test checks each row. `make docs` prints the table into docs/reference/api.md, and a test fails if
the page is out of date.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
USER = {"role": "user", "content": "hi"}
GOOD: dict[str, Any] = {"model": "m", "messages": [USER]}


def function(name: str = "f", **fields: Any) -> dict[str, Any]:
    """Return a tool."""
    return {"type": "function", "function": {"name": name, **fields}}


def deep(levels: int) -> dict[str, Any]:
    """Return a JSON schema with this number of levels."""
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def doublings(times: int) -> dict[str, Any]:
    """Return a JSON schema whose size doubles this many times when its references are expanded."""
    defs: dict[str, Any] = {"d0": {"type": "integer"}}
    for number in range(times):
        reference = {"$ref": f"#/$defs/d{number}"}
        defs[f"d{number + 1}"] = {"type": "object", "properties": {"a": reference, "b": reference}}
    return {"$ref": f"#/$defs/d{times}", "$defs": defs}


def call(call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    """Return a tool call of an earlier answer."""
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        **fields,
    }


def called(arguments: Any) -> dict[str, Any]:
    """Return an assistant's message with a call that has these arguments."""
    return {
        "role": "assistant",
        "tool_calls": [call(function={"name": "f", "arguments": arguments})],
    }


CALLED = {"role": "assistant", "tool_calls": [call()]}
ANSWER = {"role": "tool", "tool_call_id": "c1", "content": "1"}
TOOLS = [function()]
SCHEMA = "response_format.json_schema.schema"
PARAMETERS = "tools[0].function.parameters"


def messages(*given: Any) -> dict[str, Any]:
    """Return a change that sets these messages."""
    return {"messages": list(given)}


def user(content: Any) -> dict[str, Any]:
    """Return a change that sets one user message."""
    return messages({"role": "user", "content": content})


def schema(**fields: Any) -> dict[str, Any]:
    """Return a change that requests JSON of a schema."""
    return {"response_format": {"type": "json_schema", "json_schema": fields}}


@dataclass(frozen=True)
class Bad:
    """A rejected request: `GOOD` with `change`.

    `shown` is what the documentation says is wrong. With `strict`, it is rejected by deployments
    with this setting only.
    """

    shown: str
    change: dict[str, Any]
    param: str
    code: str | None
    strict: bool = False


BAD = [
    Bad("`model` missing", {"model": ...}, "model", "missing_required_parameter"),
    Bad("`model: null`", {"model": None}, "model", "invalid_type"),
    Bad("`model: \"\"`", {"model": ""}, "model", "string_below_min_length"),
    Bad("`model` of 257 characters", {"model": "m" * 257}, "model", "string_above_max_length"),
    Bad("`messages` missing", {"messages": ...}, "messages", "missing_required_parameter"),
    Bad("`messages: \"hi\"`", {"messages": "hi"}, "messages", "invalid_type"),
    Bad("`messages: []`", {"messages": []}, "messages", "empty_array"),
    Bad("4,097 messages", {"messages": [USER] * 4097}, "messages", "array_above_max_length"),
    Bad("a message that is a string", messages("hi"), "messages[0]", "invalid_type"),
    Bad("an unknown role: `bot`", messages({"role": "bot", "content": "x"}), "messages[0].role", "invalid_value"),
    Bad("no role", messages({"content": "x"}), "messages[0].role", "missing_required_parameter"),
    Bad("the role `function`", messages({"role": "function", "name": "f", "content": "1"}), "messages[0].role", "unsupported_value"),
    Bad("no content", messages({"role": "user"}), "messages[0].content", "missing_required_parameter", strict=True),
    Bad("`content: null` of a user", user(None), "messages[0].content", "invalid_type", strict=True),
    Bad("`content: 5`", messages(USER, {"role": "user", "content": 5}), "messages[1].content", "invalid_type"),
    Bad("`content: []`", user([]), "messages[0].content", "empty_array", strict=True),
    Bad("4,097 parts", user([{"type": "text", "text": "x"}] * 4097), "messages[0].content", "array_above_max_length"),
    Bad("an image in instructions", {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0].content[0].type", "unsupported_value"),
    Bad("an image without a URL", user([{"type": "image_url", "image_url": {}}]), "messages[0].content[0].image_url.url", "missing_required_parameter"),
    Bad("a sound", user([{"type": "input_audio", "input_audio": {}}]), "messages[0].content[0].type", "unsupported_value"),
    Bad("a file", user([{"type": "text", "text": ""}, {"type": "file", "file": {}}]), "messages[0].content[1].type", "unsupported_value"),
    Bad("a content part of an unknown type", user([{"type": "smell"}]), "messages[0].content[0].type", "invalid_value"),
    Bad("a text part without text", user([{"type": "text"}]), "messages[0].content[0].text", "missing_required_parameter"),
    Bad("a `name` of 257 characters", messages({**USER, "name": "n" * 257}), "messages[0].name", "string_above_max_length"),
    Bad("an assistant who says nothing", messages({"role": "assistant", "content": None}), "messages[0]", "invalid_value", strict=True),
    Bad("`tool_calls: []`", messages({"role": "assistant", "tool_calls": []}), "messages[0].tool_calls", "empty_array", strict=True),
    Bad("a tool call without `id`", messages({"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": ""}}]}), "messages[0].tool_calls[0].id", "missing_required_parameter"),
    Bad("arguments that are not JSON: `{\"city\": \"Par`", messages(called('{"city": "Par'), ANSWER), "messages[0].tool_calls[0].function.arguments", "invalid_value"),
    Bad("arguments that are JSON, but not an object: `[1]`", messages(called("[1]"), ANSWER), "messages[0].tool_calls[0].function.arguments", "invalid_value"),
    Bad("arguments that are a number", messages(called(5), ANSWER), "messages[0].tool_calls[0].function.arguments", "invalid_type"),
    Bad("two tool calls of one `id`", messages({"role": "assistant", "tool_calls": [call(), call()]}, ANSWER), "messages[0].tool_calls", None),
    Bad("a call of a custom tool", messages({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}), "messages[0].tool_calls[0].type", "unsupported_value"),
    Bad("an assistant's `function_call`", messages({"role": "assistant", "content": "", "function_call": {"name": "f"}}), "messages[0].function_call", "unsupported_value"),
    Bad("an assistant's `audio`", messages({"role": "assistant", "audio": {"id": "a"}}), "messages[0].audio", "unsupported_value"),
    Bad("a tool call without its answer", messages(USER, CALLED, USER), "messages[1].tool_calls", None),
    Bad("an answer without its call", messages(USER, ANSWER), "messages[1].role", None),
    Bad("an answer to another call", messages(CALLED, {**ANSWER, "tool_call_id": "c2"}), "messages[1].tool_call_id", None),
    Bad("a tool's answer without `tool_call_id`", messages(CALLED, {"role": "tool", "content": "1"}), "messages[1].tool_call_id", "missing_required_parameter"),
    Bad("`stream: \"yes\"`", {"stream": "yes"}, "stream", "invalid_type"),
    Bad("`stream_options` without `stream`", {"stream_options": {"include_usage": True}}, "stream_options", None),
    Bad("`include_usage: 1`", {"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
    Bad("`max_tokens: 0`", {"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    Bad("`max_tokens: 1.5`", {"max_tokens": 1.5}, "max_tokens", "invalid_type"),
    Bad("`max_tokens: 10000001`", {"max_tokens": 10_000_001}, "max_tokens", "integer_above_max_value"),
    Bad("`max_completion_tokens: -1`", {"max_completion_tokens": -1}, "max_completion_tokens", "integer_below_min_value", strict=True),
    Bad("both of them", {"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", None, strict=True),
    Bad("two limits that differ", {"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", None),
    Bad("`min_tokens` over the limit", {"min_tokens": 6, "max_tokens": 5}, "min_tokens", None),
    Bad("`temperature: \"hot\"`", {"temperature": "hot"}, "temperature", "invalid_type"),
    Bad("`temperature: -0.1`", {"temperature": -0.1}, "temperature", "decimal_below_min_value"),
    Bad("`temperature: 2.1`", {"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    Bad("`top_p: -0.1`", {"top_p": -0.1}, "top_p", "decimal_below_min_value"),
    Bad("`top_p: 1.1`", {"top_p": 1.1}, "top_p", "decimal_above_max_value"),
    Bad("`frequency_penalty: 2.1`", {"frequency_penalty": 2.1}, "frequency_penalty", "decimal_above_max_value"),
    Bad("`presence_penalty: -2.1`", {"presence_penalty": -2.1}, "presence_penalty", "decimal_below_min_value"),
    Bad("`presence_penalty: []`", {"presence_penalty": []}, "presence_penalty", "invalid_type"),
    Bad("`seed: 9223372036854775808`", {"seed": 2**63}, "seed", "integer_above_max_value"),
    Bad("`seed: 0.5`", {"seed": 0.5}, "seed", "invalid_type"),
    Bad("`stop: \"\"`", {"stop": ""}, "stop", "string_below_min_length", strict=True),
    Bad("`stop` of 1,001 characters", {"stop": "x" * 1001}, "stop", "string_above_max_length"),
    Bad("five stop strings", {"stop": ["a"] * 5}, "stop", "array_above_max_length", strict=True),
    Bad("33 stop strings", {"stop": ["a"] * 33}, "stop", "array_above_max_length"),
    Bad("10,000 stop strings", {"stop": ["a"] * 10_000}, "stop", "array_above_max_length"),
    Bad("`stop: [5]`", {"stop": [5]}, "stop[0]", "invalid_type"),
    Bad("`n: 0`", {"n": 0}, "n", "integer_below_min_value"),
    Bad("`n: 9`", {"n": 9}, "n", "integer_above_max_value", strict=True),
    Bad("`n: 129`", {"n": 129}, "n", "integer_above_max_value"),
    Bad("`n: true`", {"n": True}, "n", "invalid_type"),
    Bad("`logprobs: 5`", {"logprobs": 5}, "logprobs", "invalid_type"),
    Bad("`top_logprobs` without `logprobs`", {"top_logprobs": 3}, "top_logprobs", None),
    Bad("`top_logprobs: 21`", {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
    Bad("a bias of 101", {"logit_bias": {"5": 101}}, "logit_bias", "decimal_above_max_value"),
    Bad("a bias whose key is not a token's number", {"logit_bias": {"the": 1}}, "logit_bias", "invalid_value"),
    Bad("1,025 biases", {"logit_bias": {str(number): 1 for number in range(1025)}}, "logit_bias", "object_above_max_properties"),
    Bad("`response_format: \"json\"`", {"response_format": "json"}, "response_format", "invalid_type"),
    Bad("`response_format: {\"type\": \"xml\"}`", {"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    Bad("`json_schema` without one", {"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
    Bad("a schema without a name", schema(schema={}), "response_format.json_schema.name", "missing_required_parameter", strict=True),
    Bad("a schema named `a b`", schema(name="a b", schema={}), "response_format.json_schema.name", "invalid_value"),
    Bad("a schema that is a string", schema(name="a", schema="{}"), "response_format.json_schema.schema", "invalid_type"),
    Bad("a schema of 65 levels", schema(name="a", schema=deep(65)), "response_format.json_schema.schema", "invalid_value"),
    Bad("`minItems: 5, maxItems: 2` in a schema", schema(name="a", schema={"type": "array", "minItems": 5, "maxItems": 2}), f"{SCHEMA}.minItems", "invalid_value"),
    Bad("`minLength: 5, maxLength: 2` in a schema", schema(name="a", schema={"properties": {"s": {"type": "string", "minLength": 5, "maxLength": 2}}}), f"{SCHEMA}.properties.s.minLength", "invalid_value"),
    Bad("`minimum: 3, exclusiveMaximum: 3`", schema(name="a", schema={"type": "integer", "minimum": 3, "exclusiveMaximum": 3}), f"{SCHEMA}.minimum", "invalid_value"),
    Bad("`maxItems: 1.5`", schema(name="a", schema={"type": "array", "maxItems": 1.5}), f"{SCHEMA}.maxItems", "invalid_value"),
    Bad("a pattern `^a{5,2}$`", schema(name="a", schema={"type": "string", "pattern": "^a{5,2}$"}), f"{SCHEMA}.pattern", "invalid_value"),
    Bad("an `enum` of 501 values in `parameters` of a tool that may be called", {"tools": [function(parameters={"enum": list(map(str, range(501)))})]}, PARAMETERS, "invalid_value"),
    Bad("`enum: []`", schema(name="a", schema={"enum": []}), f"{SCHEMA}.enum", "invalid_value"),
    Bad("`enum: []` in `parameters` of a tool", {"tools": [function(), function("g", parameters={"properties": {"a": {"enum": []}}})]}, "tools[1].function.parameters.properties.a.enum", "invalid_value"),
    Bad("`type: \"STRING\"` in `parameters` of a tool", {"tools": [function(parameters={"properties": {"a": {"type": "STRING"}}})]}, f"{PARAMETERS}.properties.a.type", "invalid_value"),
    Bad("a required property that is `false`", {"tools": [function(parameters={"properties": {"a": False}, "required": ["a"]})]}, f"{PARAMETERS}.properties.a", "invalid_value"),
    Bad("a pattern with `\\p`", {"tools": [function(parameters={"properties": {"a": {"pattern": r"^\p{L}$"}}})]}, f"{PARAMETERS}.properties.a.pattern", "invalid_value"),
    Bad("a schema of type `text`", schema(name="a", schema={"type": "text"}), f"{SCHEMA}.type", "invalid_value"),
    Bad("a `$ref` to another document", schema(name="a", schema={"$ref": "https://example.com/a.json"}), f"{SCHEMA}.$ref", "invalid_value"),
    Bad("a `$ref` to a schema that does not exist", schema(name="a", schema={"$ref": "#/$defs/a"}), f"{SCHEMA}.$ref", "invalid_value"),
    Bad("a schema that is itself", schema(name="a", schema={"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), f"{SCHEMA}.$defs.a.$ref", "invalid_value"),
    Bad("a schema of 20 doublings", schema(name="a", schema=doublings(20)), f"{SCHEMA}.$defs.d15", "invalid_value"),
    Bad("`multipleOf: 1000003`", schema(name="a", schema={"type": "integer", "multipleOf": 1_000_003}), f"{SCHEMA}.multipleOf", "invalid_value"),
    Bad("`tools: {}`", {"tools": {}}, "tools", "invalid_type"),
    Bad("`tools: []`", {"tools": []}, "tools", "empty_array", strict=True),
    Bad("129 tools", {"tools": [function(f"f{number}") for number in range(129)]}, "tools", "array_above_max_length"),
    Bad("two tools of one name", {"tools": [function(), function()]}, "tools", None),
    Bad("a custom tool", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type", "unsupported_value"),
    Bad("a tool's name of 65 characters", {"tools": [function("f" * 65)]}, "tools[0].function.name", "string_above_max_length", strict=True),
    Bad("a tool named `a.b`", {"tools": [function("a.b")]}, "tools[0].function.name", "invalid_value", strict=True),
    Bad("a tool named `a b`", {"tools": [function("a b")]}, "tools[0].function.name", "invalid_value"),
    Bad("a tool's name of 129 characters", {"tools": [function("f" * 129)]}, "tools[0].function.name", "string_above_max_length"),
    Bad("`parameters: []`", {"tools": [function(parameters=[])]}, "tools[0].function.parameters", "invalid_type"),
    Bad("`parameters` of 65 levels", {"tools": [function(parameters=deep(65))]}, "tools[0].function.parameters", "invalid_value"),
    Bad("bounds the wrong way round in `parameters`", {"tools": [function(), function("g", parameters={"properties": {"a": {"minItems": 5, "maxItems": 2}}})]}, "tools[1].function.parameters.properties.a.minItems", "invalid_value"),
    Bad("`tool_choice` without `tools`", {"tool_choice": "auto"}, "tool_choice", None, strict=True),
    Bad("`tool_choice: \"required\"` without `tools`", {"tools": [], "tool_choice": "required"}, "tool_choice", None),
    Bad("`tool_choice: \"any\"`", {"tools": TOOLS, "tool_choice": "any"}, "tool_choice", "invalid_value", strict=True),
    Bad("a choice of a tool that does not exist", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice.function.name", None),
    Bad("allowed tools that do not exist", {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("g")]}}}, "tool_choice.allowed_tools.tools", None),
    Bad("`parallel_tool_calls` without `tools`", {"parallel_tool_calls": True}, "parallel_tool_calls", None, strict=True),
    Bad("`modalities: [\"text\", \"audio\"]`", {"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
    Bad("`audio`", {"audio": {"voice": "alloy", "format": "wav"}}, "audio", "unsupported_parameter"),
    Bad("`prediction`", {"prediction": {"type": "content", "content": "x"}}, "prediction", "unsupported_parameter"),
    Bad("`web_search_options`", {"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
    Bad("`moderation` without a `model`", {"moderation": {}}, "moderation.model", "missing_required_parameter"),
    Bad("a mode of moderation that is none", {"moderation": {"model": "x", "policy": {"output": {"mode": "hide"}}}}, "moderation.policy.output.mode", "invalid_value"),
    Bad("`functions`", {"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
    Bad("`function_call`", {"function_call": "auto"}, "function_call", "unsupported_parameter", strict=True),
    Bad("a `function_call` by name", {"function_call": {"name": "f"}}, "function_call", "unsupported_parameter"),
    Bad("`reasoning_effort: \"huge\"`", {"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
    Bad("an effort that is not that of `reasoning`", {"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort", None),
    Bad("an effort with thinking turned off", {"reasoning_effort": "low", "enable_thinking": False}, "reasoning_effort", None),
    Bad("`reasoning: \"high\"`", {"reasoning": "high"}, "reasoning", "invalid_type"),
    Bad("`reasoning: {\"context\": \"all_turns\"}`", {"reasoning": {"context": "all_turns"}}, "reasoning.context", "unsupported_parameter"),
    Bad("`thinking: {\"type\": \"maybe\"}`", {"thinking": {"type": "maybe"}}, "thinking.type", "invalid_value"),
    Bad("`thinking_budget: -2`", {"thinking_budget": -2}, "thinking_budget", "integer_below_min_value"),
    Bad("`separate_reasoning: false`", {"separate_reasoning": False}, "separate_reasoning", "unsupported_parameter"),
    Bad("`reasoning_format: \"raw\"`", {"reasoning_format": "raw"}, "reasoning_format", "unsupported_parameter"),
    Bad("`messages` in `chat_template_kwargs`", {"chat_template_kwargs": {"messages": "x"}}, "chat_template_kwargs.messages", "invalid_value"),
    Bad("a list in `chat_template_kwargs`", {"chat_template_kwargs": {"a": [1]}}, "chat_template_kwargs", "invalid_type"),
    Bad("17 `chat_template_kwargs`", {"chat_template_kwargs": {f"a{number}": 1 for number in range(17)}}, "chat_template_kwargs", "object_above_max_properties"),
    Bad("`enable_thinking: \"no\"` in `chat_template_kwargs`", {"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking", "invalid_type"),
    Bad("`verbosity: \"low\"`", {"verbosity": "low"}, "verbosity", "unsupported_parameter"),
    Bad("17 pairs of `metadata`", {"metadata": {str(number): "x" for number in range(17)}}, "metadata", "object_above_max_properties"),
    Bad("a `metadata` value of 513 characters", {"metadata": {"a": "x" * 513}}, "metadata", "string_above_max_length"),
    Bad("a `metadata` key of 65 characters", {"metadata": {"k" * 65: "x"}}, "metadata", "string_above_max_length"),
    Bad("an empty `metadata` key", {"metadata": {"": "x"}}, "metadata", "string_below_min_length"),
    Bad("`store: \"no\"`", {"store": "no"}, "store", "invalid_type"),
    Bad("`service_tier: \"gold\"`", {"service_tier": "gold"}, "service_tier", "invalid_value"),
    Bad("`user: 5`", {"user": 5}, "user", "invalid_type"),
    Bad("`top_k: -2`", {"top_k": -2}, "top_k", "integer_below_min_value"),
    Bad("`top_k: 0.5`", {"top_k": 0.5}, "top_k", "invalid_type"),
    Bad("`min_p: 1.1`", {"min_p": 1.1}, "min_p", "decimal_above_max_value"),
    Bad("`typical_p: -1`", {"typical_p": -1}, "typical_p", "decimal_below_min_value"),
    Bad("`repetition_penalty: 0`", {"repetition_penalty": 0}, "repetition_penalty", "decimal_below_min_value"),
    Bad("`repetition_penalty: 2.1`", {"repetition_penalty": 2.1}, "repetition_penalty", "decimal_above_max_value"),
    Bad("two names with different values", {"repetition_penalty": 1.1, "repeat_penalty": 1.2}, "repeat_penalty", None),
    Bad("`repeat_last_n: 65537`", {"repeat_last_n": 65_537}, "repeat_last_n", "integer_above_max_value"),
    Bad("`mirostat: 3`", {"mirostat": 3}, "mirostat", "invalid_value"),
    Bad("`ignore_eos: \"yes\"`", {"ignore_eos": "yes"}, "ignore_eos", "invalid_type"),
    Bad("129 `stop_token_ids`", {"stop_token_ids": [1] * 129}, "stop_token_ids", "array_above_max_length"),
    Bad("`stop_token_ids: [-1]`", {"stop_token_ids": [-1]}, "stop_token_ids[0]", "integer_below_min_value"),
    Bad("129 `bad_words`", {"bad_words": ["a"] * 129}, "bad_words", "array_above_max_length"),
    Bad("`bad_words: [\"\"]`", {"bad_words": [""]}, "bad_words[0]", "string_below_min_length"),
    Bad("`allowed_token_ids: []`", {"allowed_token_ids": []}, "allowed_token_ids", "empty_array"),
    Bad("`truncate_prompt_tokens: -2`", {"truncate_prompt_tokens": -2}, "truncate_prompt_tokens", "integer_below_min_value"),
    Bad("`continue_final_message` after a user's message", {"continue_final_message": True}, "continue_final_message", None),
    Bad("an empty `cache_salt`", {"cache_salt": ""}, "cache_salt", "string_below_min_length"),
    Bad("`guided_choice: []`", {"guided_choice": []}, "guided_choice", "empty_array"),
    Bad("`guided_json` that is not a schema", {"guided_json": "a"}, "guided_json", "invalid_value"),
    Bad("a wrong member in `guided_json`", {"guided_json": {"type": "array", "minItems": -1}}, "guided_json.minItems", "invalid_value"),
    Bad("`guided_regex` with look-around", {"guided_regex": "(?=a)b"}, "guided_regex", "invalid_value"),
    Bad("`regex` with a back-reference", {"regex": r"(a)\1"}, "regex", "invalid_value"),
    Bad("two forms of one answer", {"guided_choice": ["a"], "response_format": {"type": "json_object"}}, "guided_choice", None),
    Bad("a choice beside tools", {"structured_outputs": {"choice": ["a"]}, "tools": TOOLS}, "structured_outputs.choice", None),
    Bad("a free grammar", {"structured_outputs": {"grammar": "root ::= x"}}, "structured_outputs.grammar", "unsupported_parameter"),
    Bad("`guided_grammar`", {"guided_grammar": "root ::= x"}, "guided_grammar", "unsupported_parameter"),
    Bad("`chat_template`", {"chat_template": "x"}, "chat_template", "unsupported_parameter"),
    Bad("`logits_processors`", {"logits_processors": ["os.system"]}, "logits_processors", "unsupported_parameter"),
    Bad("`use_beam_search: true`", {"use_beam_search": True}, "use_beam_search", "unsupported_parameter"),
    Bad("a NUL character in a message", user("a\0b"), "messages[0].content", "invalid_value"),
    Bad("a NUL character in a schema", schema(name="a", schema={"title": "\0"}), "response_format.json_schema.schema.title", "invalid_value"),
]  # fmt: skip

_TEXT = {"type": "string"}
HABITS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "true as a schema": {
        "properties": {
            "a": True,
            "b": {"type": "array", "items": True},
            "c": {"anyOf": [True, _TEXT]},
        }
    },
    "false as a schema": {
        "properties": {
            "a": False,
            "b": {"type": "array", "items": False},
            "c": {"anyOf": [False, _TEXT]},
        }
    },
    "itself": {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "child": {"$ref": "#"},
            "more": {"type": "array", "items": {"$ref": "#"}},
        },
    },
    "a definition of itself": {
        "$ref": "#/$defs/n",
        "$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}},
    },
    "escapes in references": {
        "properties": {"a": {"$ref": "#/$defs/x~1y"}, "b": {"$ref": "#/definitions/a%20b"}},
        "$defs": {"x/y": _TEXT},
        "definitions": {"a b": _TEXT},
    },
    "references to properties": {"properties": {"a": _TEXT, "b": {"$ref": "#/properties/a"}}},
    "null for what is absent": {
        "type": "object",
        "properties": None,
        "required": None,
        "additionalProperties": None,
        "$defs": None,
        "description": None,
    },
    "null within a property": {
        "properties": {
            "a": {
                **_TEXT,
                "enum": None,
                "pattern": None,
                "format": None,
                "minLength": None,
                "items": None,
                "anyOf": None,
                "$ref": None,
                "default": None,
            }
        }
    },
    "null as a type": {
        "type": None,
        "properties": {
            "a": {"type": ["string", "null"], "nullable": True},
            "b": {"type": "null"},
            "c": {"enum": [None, "x"]},
            "d": {"const": None},
        },
    },
    "any as a type": {
        "properties": {
            "a": {"type": "any"},
            "b": {"type": ["any", "null"]},
            "c": {"type": ["string", "string"]},
            "d": {"type": ["string"]},
        }
    },
    "an empty array of PHP": {"type": "object", "properties": [], "required": []},
    "an empty array within": {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": []}},
    },
    "decimals": {
        "properties": {
            "a": {**_TEXT, "minLength": 1.0, "maxLength": 5.0},
            "b": {"type": "array", "items": _TEXT, "maxItems": 2.0},
        }
    },
    "draft 4": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "id": "x",
        "properties": {
            "a": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            "b": {"type": "integer", "maximum": 5, "exclusiveMaximum": False},
        },
    },
    "draft 3": {"properties": {"a": {**_TEXT, "required": True}}},
    "loose patterns": {
        "properties": {
            "a": {**_TEXT, "pattern": "[a-z]+"},
            "b": {**_TEXT, "pattern": r"\S"},
            "c": {**_TEXT, "pattern": ""},
            "d": {**_TEXT, "pattern": "^(?=a)a$"},
        },
        "patternProperties": {"^a": _TEXT},
    },
    "sets in patterns": {"properties": {"a": {**_TEXT, "pattern": r"^\d{4}-[\w.]+$"}}},
    "a large maximum": {
        "properties": {
            "a": {"type": "array", "items": _TEXT, "maxItems": 10_000},
            "b": {**_TEXT, "maxLength": 1_000_000},
        }
    },
    "what guides nothing": {
        "properties": {
            "a": {**_TEXT, "format": "email", "example": "x", "deprecated": True, "x-order": 1},
            "b": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.5},
            "c": {"type": "array", "items": _TEXT, "uniqueItems": True},
            "d": {"not": {}},
        }
    },
    "odd names": {"properties": {"a b": _TEXT, "é": _TEXT, "$x": _TEXT, "": _TEXT, 'a"b': _TEXT}},
}
"""Schemas as clients and their libraries write them, which are taken for tools of any choice."""

ACCEPTED: dict[str, list[dict[str, Any]]] = {
    "model": [{"model": "m" * 256}],
    "messages": [
        {"messages": [USER] * 4096},
        messages({"role": "developer", "content": "Be short."}, {"role": "system", "content": "x"}, USER),
        user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        messages(CALLED, ANSWER),
        messages({"role": "assistant", "tool_calls": [call("a"), call("b")]}, {**ANSWER, "tool_call_id": "b"}, {**ANSWER, "tool_call_id": "a"}),
        *(messages(called(arguments), ANSWER) for arguments in ("", " ", "null", "[]", None, {}, {"a": [1]}, '{"a": 1, "a": 2}')),
        messages({"role": "assistant", "tool_calls": [call(function={"name": "f"})]}, ANSWER),
        messages({"role": "assistant", "content": None, "refusal": "No."}, USER),
        messages({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER),
        messages({"role": "assistant", "content": [{"type": "refusal", "refusal": ""}]}, USER),
    ],
    "stream_options": [{"stream": True, "stream_options": {}}, {"stream": True, "stream_options": {"include_usage": None, "include_obfuscation": False}}],
    "max_tokens": [{"max_tokens": 1}, {"max_tokens": 10_000_000}, {"max_completion_tokens": 1}, {"max_tokens": None}],
    "temperature": [{"temperature": 0}, {"temperature": 2}, {"temperature": 1.5}],
    "top_p": [{"top_p": 0}, {"top_p": 1}],
    "penalties": [{"frequency_penalty": -2, "presence_penalty": 2}],
    "seed": [{"seed": 2**63 - 1}, {"seed": -(2**63)}],
    "stop": [{"stop": "x"}, {"stop": ["a"] * 32}, {"stop": []}, {"stop": "x" * 1000}],
    "n": [{"n": 1}, {"n": 8}],
    "logprobs": [{"logprobs": True, "top_logprobs": 20}, {"logprobs": True, "top_logprobs": 0}],
    "logit_bias": [{"logit_bias": {"5": -100, "6": 100}}, {"logit_bias": {}}],
    "samplers": [
        {"top_k": -1}, {"top_k": 1_000_000}, {"min_p": 0}, {"min_p": 1}, {"repetition_penalty": 2}, {"repeat_penalty": 0.01},
        {"typical_p": 1.0, "top_n_sigma": -1, "repeat_last_n": 0, "xtc_probability": 1, "xtc_threshold": 0, "dynatemp_range": 2, "dynatemp_exponent": 0},
        {"mirostat": 2, "mirostat_tau": 100, "mirostat_eta": 1, "min_keep": 1000}, {"ignore_eos": True, "max_tokens": 5},
    ],
    "forms": [{"guided_choice": ["yes", "no"]}, {"guided_regex": "^[0-9]{3}$"}, {"regex": "a|b"}, {"guided_json": {}}, {"json_schema": "{}"}, {"structured_outputs": {"json_object": True}}],
    "reasoning": [
        {"reasoning_effort": "max", "thinking_token_budget": 10_000_000},
        {"chat_template_kwargs": {f"a{number}": "x" * 256 for number in range(16)}},
        {"chat_template_kwargs": {"a": None, "b": -(2**31), "c": 0.5, "enable_thinking": False}},
        {"chat_template_kwargs": {}, "reasoning": {}},
        {"reasoning": {"effort": "low", "summary": "auto", "mode": "standard"}},
    ],
    "response_format": [{"response_format": {"type": "text"}}, {"response_format": {"type": "json_object"}}, schema(name="a", schema={}, strict=True), schema(name="a", schema=deep(63))],
    "tools": [
        {"tools": [function(description="d", parameters={"type": "object", "properties": {}}, strict=True)], "tool_choice": choice, "parallel_tool_calls": True}
        for choice in ("none", "auto", "required", {"type": "function", "function": {"name": "f"}}, {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [function()]}})
    ],
    "schemas": [{"tools": [function(parameters=parameters)]} for parameters in HABITS.values()],
    "no effect": [{"user": "u", "safety_identifier": "s", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "prompt_cache_key": "k", "modalities": ["text"], "reasoning_effort": "none", "verbosity": "medium"}],
    "unknown": [{"tomorrow": [{"x": 1}]}],
}  # fmt: skip
"""What lies within the limits, at their edges."""


def body(change: dict[str, Any]) -> bytes:
    """Return the request of a row."""
    return json.dumps(
        {name: value for name, value in {**GOOD, **change}.items() if value is not ...}
    ).encode()


def table() -> str:
    """Return the table for the documentation."""
    rows = [
        f"| {bad.shown}{' (`strict` only)' if bad.strict else ''} | `{bad.param}` | "
        f"{f'`{bad.code}`' if bad.code else ''} |"
        for bad in BAD
    ]
    return "\n".join(["| what is wrong | `param` | `code` |", "|---|---|---|", *rows])


_PLACE = re.compile(r"(<!-- bad requests: `make docs` -->\n).*?(\n<!-- end -->)", re.DOTALL)


def documented() -> str:
    """Return the page with the current table in it."""
    return _PLACE.sub(lambda place: f"{place[1]}{table()}{place[2]}", DOCUMENT.read_text())


if __name__ == "__main__":
    DOCUMENT.write_text(documented())
