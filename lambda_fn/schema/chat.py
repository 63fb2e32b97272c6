"""The body of `POST /v1/chat/completions`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.extras import Extras, check_refused
from lambda_fn.schema.messages import Assistant, Message, check_tool_results
from lambda_fn.schema.parse import parse
from lambda_fn.schema.parts import (
    Choices,
    Extensions,
    LogitBias,
    Metadata,
    ModerationOptions,
    Penalty,
    Rules,
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
from lambda_fn.schema.structured import with_one_form, without_aliases
from lambda_fn.schema.tools import (
    JsonObject,
    JsonSchema,
    ResponseFormat,
    ToolChoice,
    Tools,
    check_schemas,
    chosen,
)


class ChatRequest(Extras, Struct, frozen=True, omit_defaults=True):
    """The parameters.

    The second group is about reasoning, the third is rejected by name, the fourth has no effect on
    the response. `Extras` has what servers add to OpenAI's.
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
    functions: Any = None
    function_call: Any = None

    user: Annotated[str, Meta(max_length=512)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=512)] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None

    moderation: ModerationOptions | None = None
    sluice: Extensions | None = None


UNSUPPORTED = {
    "audio": "this is a text model",
    "prediction": "predicted outputs are not available",
    "web_search_options": "the model cannot search the web",
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


LENIENT = Rules()


def parse_chat(body: bytes, rules: Rules = LENIENT) -> ChatRequest:
    """Return the checked body of a chat request, with each parameter also under its first name.

    Raises:
        InvalidRequest: the body is not JSON, a parameter has a wrong type or value or cannot be
            honoured, or two parameters exclude each other.

    """
    request = parse(_decoder, body, relax=not rules.strict)
    check_refused(body, request.n or 1, chat=True)
    return checked(request, rules)


def checked(request: ChatRequest, rules: Rules) -> ChatRequest:
    """Return a chat request as `parse_chat` does, and raise as it does."""
    request = without_aliases(request)
    if rules.strict:
        from lambda_fn.schema.strict import check_strict  # not at a cold start: it is off

        check_strict(request)
    else:
        request = _without_idle(request)
    _check(request)
    _check_prompt(request)
    if not rules.loose_tool_history:
        check_tool_results(request.messages)
    request = with_one_form(request)
    _check_ignored_end(request)
    return request


def _without_idle(request: ChatRequest) -> ChatRequest:
    """Return the request without what has no effect beside its other parameters."""
    changes: dict[str, Any] = {}
    if request.tools is None:
        if request.tool_choice in ("none", "auto"):
            changes["tool_choice"] = None
        if request.parallel_tool_calls is not None:
            changes["parallel_tool_calls"] = None
    limit = request.max_completion_tokens
    if limit is not None and request.max_tokens == limit:
        changes["max_completion_tokens"] = None
    if request.functions == []:
        changes["functions"] = None
    if request.functions in (None, []) and request.function_call in ("none", "auto"):
        changes["function_call"] = None
    return msgspec.structs.replace(request, **changes) if changes else request


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
    limit = request.max_tokens or request.max_completion_tokens
    if limit is not None and (request.min_tokens or 0) > limit:
        raise InvalidRequest(
            f"'min_tokens' must be at most the limit of the answer, which is {limit}.",
            param="min_tokens",
        )
    _check_honoured(request)
    wanted(request)
    _check_tools(request)


def _check_prompt(request: ChatRequest) -> None:
    """Check the parameters that say how the prompt ends."""
    if not request.continue_final_message:
        return
    if request.add_generation_prompt:
        raise InvalidRequest(
            "'continue_final_message' and 'add_generation_prompt' exclude each other.",
            param="continue_final_message",
        )
    last = request.messages[-1]
    if type(last) is not Assistant or last.tool_calls:
        raise InvalidRequest(
            "'continue_final_message' needs a last message of the assistant, without tool calls.",
            param="continue_final_message",
        )


def _check_ignored_end(request: ChatRequest) -> None:
    """Reject `ignore_eos` with tools or a form of the answer, because these must end."""
    form = request.response_format
    is_form = request.structured_outputs is not None or type(form) in (JsonObject, JsonSchema)
    if request.ignore_eos and (is_form or (request.tools and request.tool_choice != "none")):
        raise InvalidRequest(
            "'ignore_eos' cannot be used with tools or with a form of the answer: both need an end.",
            param="ignore_eos",
        )


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
