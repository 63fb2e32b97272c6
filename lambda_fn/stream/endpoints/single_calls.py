"""Calls of a model that are answered by one JSON object: admitted, invoked and settled.

Each has a ledger item, as a completion has. Only the tokens in its counter are booked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lambda_fn import dialects, limits
from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError, BodyTooLarge, InvalidRequest, UpstreamTimeout, encode_json
from lambda_fn.http.client import Client
from lambda_fn.http.responses import read_body
from lambda_fn.ids import request_time
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.settings import Model, Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.carrier import in_background
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.settle import settle
from lambda_fn.stream.usage_counter import UsageCounter

if TYPE_CHECKING:
    from lambda_fn.stream.traces import Tracer

S = TypeVar("S")
T = TypeVar("T")
_TAIL = 4096
"""Bytes at the end of a response that is too large, in which its usage is."""

Read = Callable[[Invocation, UsageCounter], Awaitable[Any]]
"""Reads a model's response and returns the content of the answer, which is encoded as JSON.

It puts the tokens to book into the counter before it returns or raises.
"""


class Call(NamedTuple, Generic[T]):
    """A request that can be served: its caller, its model under the model's own name, and the
    parsed body (`asked`).
    """

    caller: Caller
    name: str
    model: Model
    asked: T


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

    @classmethod
    async def of(cls, invocation: Invocation, limit: int) -> "Received":
        """Return the response of an invocation, of which at most `limit` bytes are kept.

        Raises:
            APIError: the endpoint failed.

        """
        received = cls(limit)
        while (data := await invocation.read(_NEVER)) != b"":
            received.add(data or b"")
        return received


_NEVER = float("inf")


class SingleCalls:
    """The objects and steps that the endpoints of such calls share."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        table: Table,
        gate: Gate,
        tracer: "Tracer | None" = None,
    ) -> None:
        """Take the objects that all requests share. Without a `tracer`, nothing is traced."""
        self.settings = settings
        self._client = client
        self._credentials = credentials
        self._table = table
        self._gate = gate
        self._tracer = tracer

    async def accept(
        self,
        request: Request,
        parse: Callable[[bytes], tuple[str | None, S]],
        fit: Callable[[str, Model, S, int], T],
        *,
        max_bytes: int = limits.MAX_BODY,
    ) -> Call[T]:
        """Authenticate a request, parse its body, and find its model.

        Args:
            request: The request.
            parse: Returns the model that a body names, or None, and what the body asks for.
            fit: Returns what a model is asked for. Its arguments are the model's own name, the
                model, the second result of `parse`, and the size of the body in bytes.
            max_bytes: The largest body. Each model has its own maximum, too.

        Raises:
            APIError: the request cannot be answered. If the key has been revoked since it was last
                seen here, the error says only that.

        """
        headers: dict[str, str] = request.scope["sluice.request_headers"]
        caller = read_key(headers, request.scope.get("client"))
        await self._gate.authenticate(caller)
        try:
            body = await read_body(request.receive, headers, max_bytes=max_bytes)
            named, asked = parse(body)
            name = self._name(named)
            model = self.settings.models.get(name)
            if model is None:
                raise await self._gate.no_model(caller, name, self.settings.unreadable)
            if len(body) > model.max_body:
                raise BodyTooLarge(f"The body is over {model.max_body} bytes. Send a smaller one.")
            return Call(caller, name, model, fit(name, model, asked, len(body)))
        except APIError:
            await self._gate.check_key(caller)
            raise

    def _name(self, named: str | None) -> str:
        """Return a model's own name. Without a name, the only model's is returned."""
        models = self.settings.models
        if named is not None:
            return self.settings.name_of(named)
        if len(models) > 1:
            raise InvalidRequest(
                f"Missing 'model': this deployment has {', '.join(models)}.",
                param="model",
                code="missing_required_parameter",
            )
        return next(iter(models))

    async def respond(
        self,
        request: Request,
        call: Call[T],
        body: bytes | Callable[[], Awaitable[bytes]],
        read: Read,
        *,
        reserved: int = 0,
        seconds: float = limits.UPSTREAM_SILENCE,
    ) -> Response:
        """Admit a request, call its model, and return the response, which settles it at its end.

        Args:
            request: The request.
            call: What `accept` returned for it.
            body: The body for the model's server, or what makes it once the request is admitted.
            read: Reads the response of the model.
            reserved: An upper bound of the tokens that are booked, which are prompt tokens.
            seconds: The time for the model's response.

        Raises:
            APIError: the key's limits do not allow it, or the model failed.

        """
        request_id: str = request.scope["sluice.request_id"]
        prices = Prices(*call.model.prices_at(request_time(request_id)))
        opening = Opening(
            request_id,
            call.caller.key_id,
            call.name,
            reserved,
            prices.bound(reserved, 0),
            prices,
            self.settings.overdue,
            priced=call.model.priced or not reserved,
        )
        counter = UsageCounter()
        if self._tracer is not None:
            scope = request.scope
            counter.trace = self._tracer.begin(
                scope["sluice.request_headers"], scope["path"], partial(in_background, scope)
            )
        admission = await self._gate.admit(call.caller, opening)
        request.scope["sluice.response_headers"] = admission.headers
        counter.admitted()
        settling = partial(
            settle, self._table, admission, counter, deployment=self.settings.deployment
        )
        try:
            async with asyncio.timeout(seconds):
                sent = body if isinstance(body, bytes) else await body()
                counter.invoked()
                async with self._invocation(call.model, request_id, sent, counter) as invocation:
                    content = encode_json(await read(invocation, counter))
        except TimeoutError:
            late = UpstreamTimeout("The model took too long to answer.")
            counter.note(late)
            await asyncio.shield(settling())
            raise late from None
        except BaseException as error:
            if isinstance(error, APIError):
                counter.note(error)
            await asyncio.shield(settling())
            raise
        counter.complete = True
        return _Settled(content, settling)

    def _invocation(
        self, model: Model, request_id: str, body: bytes, counter: UsageCounter
    ) -> Invocation:
        return Invocation(
            self._client,
            url=self.settings.sagemaker_url,
            region=self.settings.region,
            endpoint=model.endpoint,
            component=model.component,
            request_id=request_id,
            refusal=dialects.find(model.dialect).rejection,
            credentials=self._credentials(),
            body=body,
            attributes=counter.attributes,
        )


class _Settled(Response):
    """A response that settles its request after the last byte, or when its client leaves."""

    def __init__(self, content: bytes, settling: Callable[[], Awaitable[None]]) -> None:
        super().__init__(content, media_type="application/json")
        self._settling = settling

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.shield(self._settling())
