"""`POST /v1/messages/count_tokens`: the tokens of a prompt, as the model's server counts them.

The prompt is rendered by the model's own template, tools included. Our container counts without
generating. Other servers count only what they answer, so they are asked for one token. A count is a
request of its key, and none of its tokens: its ledger item has 0.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn import dialects, limits
from lambda_fn.auth import read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.dialects import Decoder
from lambda_fn.errors import APIError, UpstreamFailed, UpstreamTimeout, from_container
from lambda_fn.events import Failure, Start, Usage
from lambda_fn.http.client import Client
from lambda_fn.http.responses import json_response, read_body
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.schema import Control
from lambda_fn.schema.anthropic import asked, parse_count
from lambda_fn.schema.reasoning import served
from lambda_fn.settings import Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.rate_limit_errors import model_unreadable, no_model
from lambda_fn.stream.settle import settle
from lambda_fn.stream.usage_counter import UsageCounter


class CountTokens:
    """The endpoint `POST /v1/messages/count_tokens`."""

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

    async def __call__(self, request: Request) -> Response:
        """Serve one request."""
        headers = request.scope["sluice.request_headers"]
        request_id: str = request.scope["sluice.request_id"]
        caller = read_key(headers, request.scope.get("client"))
        await self._gate.authenticate(caller)
        try:
            chat = asked(parse_count(await read_body(request.receive, headers))).chat
            chat = msgspec.structs.replace(chat, model=self._settings.name_of(chat.model))
            model = self._settings.models.get(chat.model)
            if model is None:
                reason = self._settings.unreadable.get(chat.model)
                if reason is not None and (await self._gate.check_key(caller)).may_use(chat.model):
                    raise model_unreadable(chat.model, reason)
                raise no_model(chat.model)
            chat = served(chat, reasons=model.reasoning != "none", budgets=model.reasoning_budget)
            dialect = dialects.find(model.dialect)
            dialect.check(chat)
        except APIError:
            await self._gate.check_key(caller)
            raise
        opening = Opening(
            request_id=request_id,
            key_id=caller.key_id,
            model=chat.model,
            reserved=0,
            reserved_cost=0,
            prices=Prices(0, 0),
            overdue=self._settings.overdue,
        )
        admission = await self._gate.admit(caller, opening)
        request.scope["sluice.response_headers"] = admission.headers
        control = Control(
            request_id=request_id,
            deadline_ms=int(limits.COUNT_TIMEOUT * 1000),
            max_prompt_tokens=model.context_tokens,
            caller=caller.key_id,
        )
        counter = UsageCounter()
        settling = partial(settle, self._table, admission, counter)
        try:
            invocation = Invocation(
                self._client,
                url=self._settings.sagemaker_url,
                region=self._settings.region,
                credentials=self._credentials(),
                endpoint=model.endpoint,
                component=model.component,
                body=dialect.count(chat, control),
                request_id=request_id,
                refusal=dialect.rejection,
            )
            try:
                async with asyncio.timeout(limits.COUNT_TIMEOUT), invocation:
                    counted = await _counted(
                        invocation, dialect.decoder(1), ours=model.dialect == "sluice"
                    )
            except TimeoutError:
                raise UpstreamTimeout("The model took too long to count the prompt.") from None
        except BaseException:
            await asyncio.shield(settling())
            raise
        counter.complete = True
        response = json_response({"input_tokens": counted})
        response.background = BackgroundTask(settling)  # it runs after the last byte
        return response


async def _counted(invocation: Invocation, decoder: Decoder, *, ours: bool) -> int:
    """Return the tokens of the prompt, once the response tells them.

    Our container tells them at once. With other servers, 0 is a count that is not known yet.

    Raises:
        APIError: the endpoint failed, or did not tell them.

    """
    ended = False
    while not ended:
        received = await invocation.read(time.monotonic() + limits.COUNT_TIMEOUT)
        if received is None:
            continue
        ended = not received
        for event in decoder.feed(received) if received else decoder.close():
            if (type(event) is Start or type(event) is Usage) and (ours or event.prompt_tokens):
                return event.prompt_tokens
            if type(event) is Failure:
                raise from_container(event.code, event.message, event.param)
    raise UpstreamFailed("The model's server did not tell how many tokens the prompt has.")
