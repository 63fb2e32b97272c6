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
from lambda_fn.http.responses import json_response
from lambda_fn.schema.tokenize import parse_detokenize, parse_tokenize
from lambda_fn.settings import Model
from lambda_fn.stream.endpoints.single_calls import Received, SingleCalls
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
        """Take what calls the models."""
        self._calls = calls

    async def tokenize(self, request: Request) -> Response:
        """Return the tokens of a text: `count`, `max_model_len` and `tokens`, as vLLM does."""
        model, found = await self._ask(request, parse_tokenize)
        if found.tokens is None:
            raise UpstreamFailed("The model failed to answer.")
        return json_response(
            {
                "count": len(found.tokens),
                "max_model_len": model.context_tokens,
                "tokens": found.tokens,
            }
        )

    async def detokenize(self, request: Request) -> Response:
        """Return the text of tokens: `prompt` is vLLM's name of it, and `content` llama.cpp's."""
        _, found = await self._ask(request, parse_detokenize)
        if found.text is None:
            raise UpstreamFailed("The model failed to answer.")
        return json_response({"prompt": found.text, "content": found.text})

    async def _ask(self, request: Request, parse: Parse) -> tuple[Model, _Tokens]:
        def checked(body: bytes) -> tuple[str, Model, dict[str, Any]]:
            named, asked = parse(body)
            name, model = self._calls.model(named)
            if model.dialect != "sluice":
                raise InvalidRequest(
                    "Unsupported 'model': its server's tokenizer cannot be reached through "
                    "SageMaker.",
                    param="model",
                    code="unsupported_value",
                )
            return name, model, asked

        caller, (name, model, asked) = await self._calls.accept(request, checked)
        body = msgspec.json.encode({"sluice": {"v": 1, **asked}})
        found = await self._calls.run(
            request, caller, name, body, _read, reserved=0, max_bytes=MAX_RESPONSE
        )
        return model, found


def _read(received: Received, counter: UsageCounter) -> _Tokens:
    try:
        return msgspec.json.decode(received.data, type=_Tokens)
    except msgspec.DecodeError:
        raise UpstreamFailed("The model failed to answer.") from None
