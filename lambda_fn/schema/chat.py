"""The body of `POST /v1/chat/completions`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.messages import Message, check_tool_results
from lambda_fn.schema.parse import parse
from lambda_fn.schema.parts import (
    Choices,
    Extensions,
    LogitBias,
    Metadata,
    Penalty,
    Seed,
    Stop,
    StreamOptions,
    Temperature,
    Tokens,
    TopP,
)
from lambda_fn.schema.reasoning import (
    Budget,
    Effort,
    Reasoning,
    TemplateArguments,
    Thinking,
    wanted,
)
from lambda_fn.schema.tools import ResponseFormat, ToolChoice, Tools, check_schemas, chosen


class ChatRequest(Struct, frozen=True, omit_defaults=True):
    """The parameters.

    The second group is about reasoning, the third is rejected by name, the fourth has no effect on
    the response.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Meta(min_length=1, max_length=4096)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    n: Choices | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: LogitBias | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None

    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    chat_template_kwargs: TemplateArguments | None = None
    enable_thinking: bool | None = None
    thinking: bool | Thinking | None = None
    think: bool | Effort | None = None
    thinking_budget: Budget | None = None
    thinking_token_budget: Budget | None = None
    thinking_budget_tokens: Budget | None = None
    reasoning_budget: Budget | None = None
    reasoning_budget_tokens: Budget | None = None
    max_thinking_tokens: Budget | None = None
    max_reasoning_tokens: Budget | None = None
    include_reasoning: bool | None = None
    reasoning_format: (
        Literal["auto", "parsed", "deepseek", "hidden", "none", "raw", "deepseek-legacy"] | None
    ) = None
    separate_reasoning: bool | None = None
    stream_reasoning: bool | None = None

    modalities: list[Literal["text", "audio"]] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None
    functions: Any = None
    function_call: Any = None

    user: Annotated[str, Meta(max_length=512)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=512)] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None

    sluice: Extensions | None = None


UNSUPPORTED = {
    "audio": "this is a text model",
    "prediction": "predicted outputs are not available",
    "web_search_options": "the model cannot search the web",
    "moderation": "moderation is not available",
    "functions": "use 'tools'",
    "function_call": "use 'tool_choice'",
}
"""Parameters that are rejected with any value, and why."""

DEFAULT_ONLY: dict[str, tuple[object, str]] = {
    "modalities": (["text"], "this is a text model, whose only modality is 'text'"),
    "verbosity": ("medium", "no server takes it; 'medium', the default, is allowed"),
}
"""Parameters that are rejected with any value but this one, and why."""

INERT = (
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "stream_reasoning",
)
"""Parameters that are accepted and not forwarded: they would not change the response."""

_decoder = msgspec.json.Decoder(ChatRequest)


def parse_chat(body: bytes) -> ChatRequest:
    """Return the checked body of a chat request.

    Raises:
        InvalidRequest: the body is not JSON, a parameter has a wrong type or value or cannot be
            honoured, or two parameters exclude each other.

    """
    request = parse(_decoder, body)
    _check(request)
    return request


def _check(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidRequest(
            (
                "'max_tokens' and 'max_completion_tokens' are two names of one limit: send only "
                "one of them."
            ),
            param="max_tokens",
        )
    _check_honoured(request)
    wanted(request)
    _check_tools(request)
    check_tool_results(request.messages)


def _check_honoured(request: ChatRequest) -> None:
    for name, why in UNSUPPORTED.items():
        if getattr(request, name) is not None:
            raise unsupported(name, why)
    for name, (allowed, why) in DEFAULT_ONLY.items():
        if getattr(request, name) not in (None, allowed):
            raise unsupported(name, why)


def _check_tools(request: ChatRequest) -> None:
    check_schemas(request.response_format, request.tools, request.tool_choice)
    if request.tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            value = getattr(request, name)
            if value is not None and value != "none":
                raise InvalidRequest(
                    f"'{name}' is only allowed when 'tools' are specified.", param=name
                )
        return
    chosen(request.tools, request.tool_choice)


def unsupported(name: str, why: str) -> InvalidRequest:
    """Return the error for a parameter that cannot be honoured."""
    return InvalidRequest(
        f"Unsupported parameter: '{name}': {why}.", param=name, code="unsupported_parameter"
    )
