"""The body of `POST /v1/completions`, OpenAI's older endpoint.

Its prompt becomes one user message.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.chat import LENIENT, ChatRequest, checked, unsupported
from lambda_fn.schema.extras import Extras, check_refused
from lambda_fn.schema.messages import User
from lambda_fn.schema.parse import parse
from lambda_fn.schema.parts import (
    Choices,
    Extensions,
    LogitBias,
    Penalty,
    Rules,
    Seed,
    Stop,
    StreamOptions,
    Temperature,
    Tokens,
    TopP,
)
from lambda_fn.schema.structured import without_aliases
from lambda_fn.schema.tools import ResponseFormat

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for this endpoint."""

TokenIds = Annotated[list[int], Meta(min_length=1)]


class CompletionRequest(Extras, Struct, frozen=True, omit_defaults=True):
    """The parameters."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    prompt: str | list[str | int | TokenIds]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=-1, le=10_000_000)] | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    n: Choices | None = None
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    logit_bias: LogitBias | None = None
    echo: bool | None = None
    suffix: Any = None
    response_format: ResponseFormat | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None
    sluice: Extensions | None = None


_decoder = msgspec.json.Decoder(CompletionRequest)


def parse_completion(body: bytes, rules: Rules = LENIENT) -> tuple[CompletionRequest, ChatRequest]:
    """Return the checked body of a completion request, and the chat request that answers it.

    Raises:
        InvalidRequest: as for `parse_chat`.

    """
    request = parse(_decoder, body, relax=not rules.strict)
    check_refused(body, request.n or 1, chat=False)
    request = without_aliases(request)
    prompt = prompt_of(request)
    limit = request.max_tokens
    if limit is None and request.max_completion_tokens is None:
        limit = DEFAULT_MAX_TOKENS
    if limit == -1 and not rules.strict:
        limit = None
    elif limit is not None and limit < 1:
        raise InvalidRequest(
            "Invalid 'max_tokens': expected at least 1.",
            param="max_tokens",
            code="integer_below_min_value",
        )
    if request.suffix not in (None, ""):
        raise unsupported("suffix", "this model cannot write the text before a given end")
    if request.best_of not in (None, request.n or 1):
        raise unsupported("best_of", "all generated choices are returned, so it must equal 'n'")
    if request.echo and request.logprobs is not None:
        raise unsupported(
            "echo", "it cannot be used with 'logprobs', because the prompt has no log probabilities"
        )
    chat = ChatRequest(
        model=request.model,
        messages=[User(content=prompt)],
        stream=request.stream,
        stream_options=request.stream_options,
        max_tokens=limit,
        max_completion_tokens=request.max_completion_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        seed=request.seed,
        stop=request.stop,
        n=request.n,
        logprobs=None if request.logprobs is None else True,
        top_logprobs=request.logprobs,
        logit_bias=request.logit_bias,
        response_format=request.response_format,
        sluice=request.sluice,
        **{name: getattr(request, name) for name in Extras.__struct_fields__},
    )
    return request, checked(chat, rules)


def prompt_of(request: CompletionRequest) -> str:
    """Return the prompt.

    Raises:
        InvalidRequest: there are several prompts, or the prompt is in tokens.

    """
    if isinstance(request.prompt, str):
        return request.prompt
    if len(request.prompt) == 1 and isinstance(request.prompt[0], str):
        return request.prompt[0]
    if all(isinstance(part, str) for part in request.prompt) and request.prompt:
        raise InvalidRequest(
            "Only one prompt per request is supported: send a string.",
            param="prompt",
            code="unsupported_value",
        )
    raise InvalidRequest(
        "A prompt in tokens is not supported: send a string.",
        param="prompt",
        code="unsupported_value",
    )
