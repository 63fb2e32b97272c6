"""`POST /v1/embeddings`, for models that make embeddings: those of vLLM's server.

The prompt tokens that the server counts are booked. They are read at the end of its response, even
of one that is too large to be passed on.
"""

import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.errors import InvalidRequest, ResponseTooLarge, UpstreamFailed
from lambda_fn.schema.embeddings import EmbeddingsRequest, parse_embeddings
from lambda_fn.settings import Model
from lambda_fn.stream.endpoints.single_calls import Received, SingleCalls
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.usage_counter import UsageCounter

_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*\})')


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw
    index: int = 0


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


class Embeddings:
    """The endpoint."""

    def __init__(self, calls: SingleCalls) -> None:
        """Take the object that calls the models."""
        self._calls = calls

    async def __call__(self, request: Request) -> Response:
        """Serve one request."""
        call = await self._calls.accept(request, _parse, _fit)

        async def read(invocation: Invocation, counter: UsageCounter) -> dict[str, Any]:
            received = await Received.of(invocation, self._calls.settings.max_whole)
            tokens = counter.prompt_tokens = _prompt_tokens(received)
            return {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": it.index, "embedding": it.embedding}
                    for it in _embeddings(received, call.asked.inputs)
                ],
                "model": call.name,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }

        return await self._calls.respond(
            request,
            call,
            call.asked.body(),
            read,
            reserved=call.asked.max_tokens(call.model.context_tokens),
        )


def _parse(body: bytes) -> tuple[str, EmbeddingsRequest]:
    asked = parse_embeddings(body)
    return asked.model, asked


def _fit(name: str, model: Model, asked: EmbeddingsRequest, size: int) -> EmbeddingsRequest:
    if not model.embeddings:
        raise InvalidRequest(
            f"Unsupported 'model': this deployment makes no embeddings with '{name}'.",
            param="model",
            code="unsupported_value",
        )
    return asked


def _embeddings(received: Received, inputs: int) -> list[_Embedding]:
    """Return the embeddings of a response, one for each of the inputs."""
    if received.cut:
        raise ResponseTooLarge(
            "The embeddings are too large for one response. Send fewer inputs, or set "
            "'encoding_format' to 'base64'.",
            param="input",
        )
    try:
        data = msgspec.json.decode(received.data, type=_Embeddings).data
    except msgspec.DecodeError:
        raise UpstreamFailed("The model failed to answer.") from None
    if sorted(item.index for item in data) != list(range(inputs)):
        raise UpstreamFailed("The model failed to answer.")
    return data


def _prompt_tokens(received: Received) -> int:
    """Return the server's count, which is at the end of its response."""
    found = _USAGE.findall(bytes(received.data[-4096:]))
    try:
        return max(0, msgspec.json.decode(found[-1], type=_Usage).prompt_tokens) if found else 0
    except msgspec.DecodeError:
        return 0
