"""Calls of a model that are answered by one JSON object: admitted, invoked and settled.

Each has a ledger item, as a completion has. Only what the model's usage says is booked.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from lambda_fn import dialects, limits
from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError, InvalidRequest
from lambda_fn.http.client import Client
from lambda_fn.http.responses import read_body
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.settings import Model, Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.rate_limit_errors import no_model
from lambda_fn.stream.settle import settle
from lambda_fn.stream.usage_counter import UsageCounter

T = TypeVar("T")
_TAIL = 4096
"""Bytes at the end of a response that is too large, in which its usage is."""


class Received:
    """A response, whole or, if it is over its limit, its last bytes."""

    def __init__(self, limit: int) -> None:
        """Begin empty."""
        self.data = bytearray()
        self.cut = False
        self._limit = limit

    def add(self, data: bytes) -> None:
        """Add the next bytes."""
        self.data += data
        if len(self.data) > self._limit:
            self.cut = True
        if self.cut:
            del self.data[:-_TAIL]


class SingleCalls:
    """What the endpoints of such calls share."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        table: Table,
        gate: Gate,
    ) -> None:
        """Take the objects that all requests share."""
        self.settings = settings
        self._client = client
        self._credentials = credentials
        self._table = table
        self._gate = gate

    async def accept(self, request: Request, parse: Callable[[bytes], T]) -> tuple[Caller, T]:
        """Authenticate a request, and return its caller and its parsed body.

        Raises:
            APIError: the request cannot be answered. If the key has been revoked since it was last
                seen here, the error says only that.

        """
        headers: dict[str, str] = request.scope["sluice.request_headers"]
        caller = read_key(headers, request.scope.get("client"))
        await self._gate.authenticate(caller)
        try:
            return caller, parse(await read_body(request.receive, headers))
        except APIError:
            await self._gate.check_key(caller)
            raise

    def model(self, named: str | None) -> tuple[str, Model]:
        """Return a model's own name and its settings. Without a name, the only one is meant.

        Raises:
            InvalidRequest: there are several.
            NotFound: there is no such model.

        """
        models = self.settings.models
        if named is None and len(models) > 1:
            raise InvalidRequest(
                f"Missing 'model': this deployment has {', '.join(models)}.",
                param="model",
                code="missing_required_parameter",
            )
        name = next(iter(models)) if named is None else self.settings.name_of(named)
        if name not in models:
            raise no_model(name)
        return name, models[name]

    async def run(
        self,
        request: Request,
        caller: Caller,
        name: str,
        body: bytes,
        use: Callable[[Received, UsageCounter], T],
        *,
        reserved: int,
        max_bytes: int,
    ) -> T:
        """Admit a request, call its model, and return what `use` makes of the response.

        `use` puts the tokens into the counter before it raises or returns. `reserved` is the upper
        bound of prompt tokens, and `max_bytes` that of the response.

        Raises:
            APIError: the key's limits do not allow it, or the model failed.

        """
        scope, model = request.scope, self.settings.models[name]
        request_id: str = scope["sluice.request_id"]
        prices = Prices(model.prompt_price or 0, model.completion_price or 0)
        opening = Opening(
            request_id,
            caller.key_id,
            name,
            reserved,
            prices.cost(reserved, 0),
            prices,
            self.settings.overdue,
            model.priced,
        )
        admission = await self._gate.admit(caller, opening)
        scope["sluice.response_headers"] = admission.headers
        counter = UsageCounter()
        try:
            found = use(await self._invoke(model, request_id, body, max_bytes), counter)
            counter.complete = True
            return found
        except APIError as error:
            counter.note(error)
            raise
        finally:
            await asyncio.shield(
                settle(self._table, admission, counter, deployment=self.settings.deployment)
            )

    async def _invoke(self, model: Model, request_id: str, body: bytes, max_bytes: int) -> Received:
        invocation = Invocation(
            self._client,
            url=self.settings.sagemaker_url,
            region=self.settings.region,
            endpoint=model.endpoint,
            component=model.component,
            request_id=request_id,
            refusal=dialects.find(model.dialect).rejection,
            credentials=self._credentials(),
            body=body,
        )
        received = Received(max_bytes)
        async with invocation:
            deadline = time.monotonic() + limits.UPSTREAM_SILENCE
            while data := await invocation.read(deadline):
                received.add(data)
        return received
