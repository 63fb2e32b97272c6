"""`POST /tokenize` and `POST /detokenize`: the model's own tokenizer, for keys that may use it.

Each is a request of the key without tokens. Only our container can be asked: SageMaker reaches one
path of a container, and on other servers that path generates an answer.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.errors import InvalidRequest, UpstreamFailed
from lambda_fn.schema.tokenize import parse_detokenize, parse_tokenize
from lambda_fn.settings import Model
from lambda_fn.stream.endpoints.single_calls import Received, SingleCalls
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.usage_counter import UsageCounter

MAX_RESPONSE = 8 * 2**20
"""Bytes of the container's response. A body of 1 MB has fewer, whatever its tokens are."""

Parse = Callable[[bytes], tuple[str | None, dict[str, Any]]]


class _Tokens(msgspec.Struct):
    tokens: list[int] | None = None
    text: str | None = None


class Tokenizer:
    """Both endpoints."""

    def __init__(self, calls: SingleCalls) -> None:
        """Take the object that calls the models."""
        self._calls = calls

    async def tokenize(self, request: Request) -> Response:
        """Return the tokens of a text: `count`, `max_model_len` and `tokens`, as vLLM does."""

        def content(found: _Tokens, model: Model) -> dict[str, Any]:
            if found.tokens is None:
                raise UpstreamFailed("The model failed to answer.")
            return {
                "count": len(found.tokens),
                "max_model_len": model.context_tokens,
                "tokens": found.tokens,
            }

        return await self._ask(request, parse_tokenize, content)

    async def detokenize(self, request: Request) -> Response:
        """Return the text of tokens: `prompt` is vLLM's name of it, and `content` llama.cpp's."""

        def content(found: _Tokens, _: Model) -> dict[str, Any]:
            if found.text is None:
                raise UpstreamFailed("The model failed to answer.")
            return {"prompt": found.text, "content": found.text}

        return await self._ask(request, parse_detokenize, content)

    async def _ask(
        self, request: Request, parse: Parse, content: Callable[[_Tokens, Model], dict[str, Any]]
    ) -> Response:
        call = await self._calls.accept(request, parse, _fit)

        async def read(invocation: Invocation, counter: UsageCounter) -> dict[str, Any]:
            received = await Received.of(invocation, MAX_RESPONSE)
            try:
                return content(msgspec.json.decode(received.data, type=_Tokens), call.model)
            except msgspec.DecodeError:
                raise UpstreamFailed("The model failed to answer.") from None

        body = msgspec.json.encode({"sluice": {"v": 1, **call.asked}})
        return await self._calls.respond(request, call, body, read)


def _fit(name: str, model: Model, asked: dict[str, Any], size: int) -> dict[str, Any]:
    if model.dialect != "sluice":
        raise InvalidRequest(
            "Unsupported 'model': its server's tokenizer cannot be reached through SageMaker.",
            param="model",
            code="unsupported_value",
        )
    return asked
