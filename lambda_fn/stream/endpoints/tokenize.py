"""`POST /tokenize` and `POST /detokenize`: the model's own tokenizer, for keys that may use it.

Each is a request of the key, with a ledger item, and no tokens. Only our container can be asked:
SageMaker leads to one path of a container, and that of other servers generates.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn import dialects, limits
from lambda_fn.auth import read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError, InvalidRequest, UpstreamFailed
from lambda_fn.http.client import Client
from lambda_fn.http.responses import json_response, read_body
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.schema.tokenize import parse_detokenize, parse_tokenize
from lambda_fn.settings import Model, Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.rate_limit_errors import no_model
from lambda_fn.stream.settle import settle
from lambda_fn.stream.usage_counter import UsageCounter

MAX_RESPONSE = 8 * 2**20
"""Bytes of the container's response. A body of 1 MB has fewer, whatever its tokens are."""


class _Tokens(msgspec.Struct):
    tokens: list[int] | None = None
    text: str | None = None


class Tokenizer:
    """Both endpoints."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        table: Table,
        gate: Gate,
    ) -> None:
        """Take the objects that all requests share."""
        self._settings = settings
        self._client = client
        self._credentials = credentials
        self._table = table
        self._gate = gate

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

    async def _ask(
        self, request: Request, parse: Callable[[bytes], tuple[str | None, dict[str, Any]]]
    ) -> tuple[Model, _Tokens]:
        """Check and admit a request, and return its model and the container's answer."""
        scope = request.scope
        headers: dict[str, str] = scope["sluice.request_headers"]
        caller = read_key(headers, scope.get("client"))
        await self._gate.authenticate(caller)
        try:
            named, asked = parse(await read_body(request.receive, headers))
            name, model = self._model(named)
        except APIError:
            await self._gate.check_key(caller)
            raise
        request_id: str = scope["sluice.request_id"]
        opening = Opening(
            request_id,
            caller.key_id,
            name,
            0,
            0,
            Prices(model.prompt_price or 0, model.completion_price or 0),
            self._settings.overdue,
            model.priced,
        )
        admission = await self._gate.admit(caller, opening)
        scope["sluice.response_headers"] = admission.headers
        counter = UsageCounter()
        try:
            body = msgspec.json.encode({"sluice": {"v": 1, **asked}})
            found = await self._invoke(model, request_id, body)
            counter.complete = True
        finally:
            await asyncio.shield(settle(self._table, admission, counter))
        return model, found

    def _model(self, named: str | None) -> tuple[str, Model]:
        """Return the model's own name and its settings. Without a name, the only one is meant."""
        models = self._settings.models
        if named is None and len(models) > 1:
            raise InvalidRequest(
                f"Missing 'model': this deployment has {', '.join(models)}.",
                param="model",
                code="missing_required_parameter",
            )
        name = next(iter(models)) if named is None else self._settings.name_of(named)
        if name not in models:
            raise no_model(name)
        if models[name].dialect != "sluice":
            raise InvalidRequest(
                "Unsupported 'model': its server's tokenizer cannot be reached through SageMaker.",
                param="model",
                code="unsupported_value",
            )
        return name, models[name]

    async def _invoke(self, model: Model, request_id: str, body: bytes) -> _Tokens:
        invocation = Invocation(
            self._client,
            url=self._settings.sagemaker_url,
            region=self._settings.region,
            endpoint=model.endpoint,
            component=model.component,
            request_id=request_id,
            refusal=dialects.find(model.dialect).rejection,
            credentials=self._credentials(),
            body=body,
        )
        received = bytearray()
        async with invocation:
            deadline = time.monotonic() + limits.UPSTREAM_SILENCE
            while data := await invocation.read(deadline):
                received += data
                if len(received) > MAX_RESPONSE:
                    break
        try:
            return msgspec.json.decode(received, type=_Tokens)
        except msgspec.DecodeError:
            raise UpstreamFailed("The model failed to answer.") from None
