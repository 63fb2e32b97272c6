"""The stages of a completion, and the only file that knows their order.

    authenticate -> admit -> invoke -> decode -> count -> transform -> number
        -> encode -> deliver -> settle

The producer does everything from invoke to number. The delivery encodes and delivers.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from lambda_fn import dialects, limits
from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.dialects import Dialect
from lambda_fn.encode import encoder_of
from lambda_fn.errors import NO_RETRY, APIError, UpstreamTimeout
from lambda_fn.http.client import Client
from lambda_fn.http.responses import read_body
from lambda_fn.schema import Control
from lambda_fn.settings import Model, Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.cancel import cancel
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.event_log import NoLog
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.negotiate import ReadRequest
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.rate_limit_errors import model_unreadable, no_model
from lambda_fn.stream.settle import Checkpoints, settle
from lambda_fn.stream.sinks import AsgiSink
from lambda_fn.stream.token_bounds import Bounds, fingerprint
from lambda_fn.stream.usage_counter import UsageCounter


class _Accepted(NamedTuple):
    """A parsed request and its body, with the model that answers it and that model's dialect."""

    read: ReadRequest
    body: bytes
    model: Model
    dialect: Dialect


class Completions:
    """The endpoint `POST /v1/chat/completions`, `POST /v1/completions` or `POST /v1/messages`.

    All have the same stages. `read` parses the request and determines the form of the response.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        table: Table,
        gate: Gate,
        read: Callable[[bytes, Mapping[str, str]], ReadRequest],
    ) -> None:
        """Take the objects that all requests share."""
        self._read = read
        self._settings = settings
        self._client = client
        self._credentials = credentials
        self._table = table
        self._gate = gate
        self._tasks: set[asyncio.Future[object]] = set()
        self._dialects = {
            model.dialect: dialects.find(model.dialect) for model in settings.models.values()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        counter = UsageCounter()
        request_id: str = scope["sluice.request_id"]
        headers: dict[str, str] = scope["sluice.request_headers"]
        caller = read_key(headers, scope.get("client"))
        await self._gate.authenticate(caller)
        accepted = await self._accept(caller, receive, headers)
        request, model, dialect = accepted.read.request, accepted.model, accepted.dialect
        bounds = Bounds.of(request, model, size=len(accepted.body))
        admission = await self._gate.admit(
            caller,
            bounds.opening(
                request_id,
                key_id=caller.key_id,
                name=request.model,
                model=model,
                overdue=self._settings.overdue,
            ),
            fingerprint=fingerprint(accepted.body, headers.get("idempotency-key", "")),
            repeat=_is_repeat(headers),
        )
        scope["sluice.response_headers"] = admission.headers
        seconds = _seconds_left(scope)
        control = Control(
            request_id=request_id,
            deadline_ms=int(seconds * 1000),
            max_prompt_tokens=bounds.prompt,
            caller=caller.key_id,
        )
        head = accepted.read.head(
            response_id=request_id,
            created=int(time.time()),
            fingerprint=self._settings.fingerprint(request.model),
            max_bytes=self._settings.max_whole,
        )
        invoke = partial(
            Invocation,
            self._client,
            url=self._settings.sagemaker_url,
            region=self._settings.region,
            endpoint=model.endpoint,
            component=model.component,
            request_id=request_id,
            refusal=dialect.rejection,
        )
        invocation: Invocation | None = None
        stopping = False  # the process ends, and has no time to cancel anything
        try:
            credentials = self._credentials()
            invocation = invoke(
                credentials=credentials, body=dialect.body(bounds.applied(request), control)
            )
            delivery = Delivery(
                encoder_of(head), AsgiSink(send), heartbeat=self._settings.heartbeat
            )
            event_log = NoLog()
            producer = Producer(
                invocation,
                dialect.decoder(head.choices, bounds.kept_here),
                counter,
                event_log,
                seconds=seconds + limits.STREAM_GRACE,
                transform=accepted.read.transform(),
                on_stop=delivery.hasten,
            )
            await event_log.open(head)
            with Checkpoints(self._table, request_id, counter, producer.cancel):
                # A delivery that ends early does not cancel its producer. Here it does, because
                # without a log a response cannot be read after its client has left: the producer
                # ends with the context.
                async with producer:
                    await delivery.run(producer)
        except APIError as error:
            if counter.completion_tokens or error.status == UpstreamTimeout.status:
                # Tokens may have been billed, so only the caller may decide to send it again.
                error.headers |= NO_RETRY
            raise
        except asyncio.CancelledError:
            counter.cancelled = stopping = True
            raise
        finally:
            if invocation is not None and invocation.left and not stopping:
                cancelling = dialect.cancel(request_id)
                if cancelling is not None:
                    work = cancel(
                        partial(invoke, credentials=credentials, body=cancelling), request_id
                    )
                    self._in_background(scope, work)
            await asyncio.shield(settle(self._table, admission, counter))

    async def _accept(
        self, caller: Caller, receive: Receive, headers: Mapping[str, str]
    ) -> _Accepted:
        """Read and parse the request's body, and find its model.

        Raises:
            APIError: the request cannot be answered. If the key has been revoked since it was last
                seen here, the error says only that.

        """
        try:
            body = await read_body(receive, headers)
            read = self._read(body, headers)
            model = self._settings.models.get(read.request.model)
            if model is None:
                raise await self._no_model(caller, read.request.model)
            dialect = self._dialects[model.dialect]
            dialect.check(read.request)
        except APIError:
            await self._gate.check_key(caller)
            raise
        return _Accepted(read, body, model, dialect)

    async def _no_model(self, caller: Caller, name: str) -> APIError:
        reason = self._settings.unreadable.get(name)
        if reason is None or not (await self._gate.check_key(caller)).may_use(name):
            return no_model(name)
        return model_unreadable(name, reason)

    def _in_background(self, scope: Scope, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background. On Lambda it finishes before the next invocation is
        fetched.
        """
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if (after := scope.get("aws.after")) is not None:
            after.append(task)


def _is_repeat(headers: Mapping[str, str]) -> bool:
    """Return whether a request may have been sent before.

    OpenAI's SDKs send the number of the retry, and some callers send an idempotency key.
    """
    return (
        headers.get("x-stainless-retry-count", "0").strip() not in {"", "0"}
        or "idempotency-key" in headers
    )


def _seconds_left(scope: Scope) -> float:
    """Return the seconds that the container gets for its response."""
    context = scope.get("aws.context")
    if context is None:
        return limits.STREAM_DEADLINE
    left: float = context.remaining() - limits.SETTLE_RESERVE - limits.STREAM_GRACE
    return max(1.0, min(limits.STREAM_DEADLINE, left))
