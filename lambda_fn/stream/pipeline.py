"""The stages of a completion, and the only file that knows their order.

    authenticate -> admit -> invoke -> decode -> count -> transform -> number
        -> encode -> deliver -> settle

The producer does everything from invoke to number. The delivery encodes and delivers. A logged
response has a log between them, and goes on when its client leaves (`logged`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from lambda_fn import dialects, limits
from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.dialects import Decoder, Dialect
from lambda_fn.encode import Head, encoder_of
from lambda_fn.errors import (
    NO_RETRY,
    APIError,
    BodyTooLarge,
    InvalidRequest,
    RateLimited,
    Unavailable,
    UpstreamTimeout,
)
from lambda_fn.event_log import NoLog
from lambda_fn.http.client import Client
from lambda_fn.http.responses import read_body
from lambda_fn.ids import new_request_id
from lambda_fn.log import log
from lambda_fn.schema import Control
from lambda_fn.schema.messages import has_images
from lambda_fn.settings import NO_MODERATION, Model, Settings
from lambda_fn.stream.admit import Admission, Gate
from lambda_fn.stream.cancel import cancel
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.negotiate import Continued, Policy, ReadRequest
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.reservation import growing
from lambda_fn.stream.settle import Checkpoints, settle
from lambda_fn.stream.sinks import AsgiSink
from lambda_fn.stream.token_bounds import Bounds, fingerprint
from lambda_fn.stream.usage_counter import Pace, UsageCounter

if TYPE_CHECKING:
    from lambda_fn.stream.continuing import Continuing
    from lambda_fn.stream.failover import PromptReserve
    from lambda_fn.stream.images import Image
    from lambda_fn.stream.logged import Live
    from lambda_fn.stream.moderate import Moderator
    from lambda_fn.stream.repeats import Repeats
    from lambda_fn.stream.traces import Tracer
    from lambda_fn.stream_log.heads import StoredHead
    from lambda_fn.stream_log.results import ResultLog
    from lambda_fn.stream_log.table_log import TableLog


class _Accepted(NamedTuple):
    """A parsed request and its body, with the model that answers it and that model's dialect.

    `asked` is the request as it came, and `read` as this model gets it. `size` is the size of the
    body in bytes without its images.
    """

    asked: ReadRequest
    read: ReadRequest
    body: bytes
    model: Model
    dialect: Dialect
    size: int
    images: "Sequence[Image]"


class _NoCapacity(Exception):
    """The model has no capacity for a request, and nothing was sampled or sent."""

    def __init__(self, error: APIError) -> None:
        """Keep the error that the client gets if no other model answers."""
        super().__init__()
        self.error = error


class Completions:
    """The endpoint `POST /v1/chat/completions`, or of another form of responses.

    All have the same stages. `read` parses the request and determines the form of the response.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        table: Table,
        gate: Gate,
        read: Callable[[bytes, Mapping[str, str]], ReadRequest | Continued],
        tracer: "Tracer | None" = None,
    ) -> None:
        """Take the objects that all requests share. Without a `tracer`, nothing is traced."""
        self._read = read
        self._settings = settings
        self._client = client
        self._credentials = credentials
        self._table = table
        self._streams: Table | None = None
        if settings.stream_table is not None:
            self._streams = Table(
                client,
                url=settings.dynamodb_url,
                region=settings.region,
                name=settings.stream_table,
                credentials=credentials,
            )
        self._gate = gate
        self._tracer = tracer
        self._tasks: set[asyncio.Future[object]] = set()
        self._dialects = {
            model.dialect: dialects.find(model.dialect) for model in settings.models.values()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, by the fallback of its model if the model has no capacity."""
        headers: dict[str, str] = scope["sluice.request_headers"]
        caller = read_key(headers, scope.get("client"))
        await self._gate.authenticate(caller)
        accepted = await self._accept(caller, receive, headers)
        if not self._is_logged(accepted.read, headers):
            await self._answer(scope, send, caller, accepted, None)
            return
        from lambda_fn.stream.repeats import Attached  # not at a cold start

        repeats = await self._repeats(scope, caller, accepted, headers)
        head = await repeats.find()
        if head is None:
            try:
                await self._answer(scope, send, caller, accepted, repeats)
            except Attached as found:
                head = found.head
        if head is not None:
            await self._replay(scope, send, caller, head)

    async def _answer(
        self,
        scope: Scope,
        send: Send,
        caller: Caller,
        accepted: _Accepted,
        repeats: "Repeats | None",
    ) -> None:
        """Generate the response to a request. It is logged if it has `repeats`.

        Raises:
            APIError: see `_fall_back`.
            Attached: another request has the response already.

        """
        try:
            await self._serve(scope, send, caller, accepted, repeats)
        except _NoCapacity as found:
            await self._fall_back(scope, send, caller, accepted, repeats, found.error)

    async def _fall_back(
        self,
        scope: Scope,
        send: Send,
        caller: Caller,
        accepted: _Accepted,
        repeats: "Repeats | None",
        error: APIError,
    ) -> None:
        """Serve a request by the fallbacks of its model, one after another.

        Each has a request id and a ledger item of its own, so it is metered as the model that it
        is. If none can answer, the client gets the error of the first model.

        Raises:
            APIError: see above, or the fallback failed while it answered.

        """
        name = accepted.read.request.model
        tried = {name}
        while (following := self._settings.fallbacks.get(name)) not in {None, *tried}:
            tried.add(name)
            log("fallback", request_id=scope["sluice.request_id"], model=name, fallback=following)
            name = str(following)
            scope["sluice.request_id"] = new_request_id()
            try:
                other = self._for_model(accepted.asked, accepted.body, name)
                if other is None:
                    break
                await self._serve(scope, send, caller, other, repeats)
            except _NoCapacity:
                continue
            except APIError as failure:
                if failure.status < 500:  # the key may not use it, or it cannot do this request
                    break
                raise
            return
        raise error

    async def _serve(
        self,
        scope: Scope,
        send: Send,
        caller: Caller,
        accepted: _Accepted,
        repeats: "Repeats | None",
    ) -> None:
        counter = UsageCounter()
        request_id: str = scope["sluice.request_id"]
        headers: dict[str, str] = scope["sluice.request_headers"]
        request, model, dialect = accepted.read.request, accepted.model, accepted.dialect
        trace = None
        if self._tracer is not None:
            trace = counter.trace = self._tracer.begin(scope)
            trace.named, trace.streamed = accepted.asked.request.model, request.stream
        logged = repeats is not None
        bounds = Bounds.of(
            request, model, size=accepted.size, images=_image_tokens(accepted.images, model)
        )
        same = fingerprint(accepted.body, headers.get("idempotency-key", ""))
        admission = await self._gate.admit(
            caller,
            bounds.opening(
                request_id,
                key_id=caller.key_id,
                name=request.model,
                model=model,
                overdue=self._settings.overdue,
            ),
            fingerprint=same,
            repeat=_is_repeat(headers) and not logged,
        )
        counter.admitted()
        if self._settings.deployment is not None or trace is not None:
            counter.pace = Pace(counter)
        reservation = growing(self._table, admission, bounds, meter_open=self._settings.meter_open)
        scope["sluice.response_headers"] = admission.headers
        seconds = _seconds_left(scope, logged=logged)
        control = Control(
            request_id=request_id,
            deadline_ms=int(seconds * 1000),
            max_prompt_tokens=bounds.prompt,
            caller=caller.key_id,
            soft_thinking=accepted.read.soft_thinking or msgspec.UNSET,
        )
        make_head = partial(
            accepted.read.head,
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
            attributes="" if trace is None else trace.context.attributes,
        )
        invocation: Invocation | Continuing | None = None
        prompts: PromptReserve | None = None
        event_log: TableLog | None = None
        result_log: ResultLog | None = None
        stopping = False  # the process ends, and has no time to cancel anything

        async def cancel_run(run_id: str) -> None:
            """Cancel a run in its container, if that knows how to."""
            if (body := dialect.cancel(run_id)) is not None:
                await cancel(partial(invoke, credentials=credentials, body=body), run_id)

        async def finish() -> None:
            """Cancel what the container may still do, and settle."""
            if invocation is not None and invocation.left and not stopping:
                self._in_background(scope, cancel_run(invocation.request_id))
            for open_log in (event_log, result_log):
                if open_log is not None:
                    self._in_background(scope, open_log.close())
            if repeats is not None and counter.ended is not None:
                self._in_background(scope, repeats.forget(request_id))
            final = admission
            if reservation is not None:
                final = msgspec.structs.replace(admission, entry=reservation.hold)
            elif prompts is not None:
                final = msgspec.structs.replace(admission, entry=prompts.hold)
            await asyncio.shield(
                settle(self._table, final, counter, deployment=self._settings.deployment)
            )

        pumping: asyncio.Task[None] | None = None
        try:
            if any(not image.width for image in accepted.images):
                from lambda_fn.stream.remote_images import with_images

                request = await with_images(request, accepted.images, model, accepted.size)
            moderator = self._moderator()
            if moderator is not None:
                await moderator.check(request, request_id)
            credentials = self._credentials()
            run = invoke(
                credentials=credentials, body=dialect.body(bounds.applied(request), control)
            )
            invocation = run
            if repeats is not None:
                event_log = await self._open_log(
                    scope, caller, accepted, make_head(logged=True), counter
                )
                await self._name(accepted, repeats, event_log, admission, same, counter)
            elif accepted.read.kept_items is not None:
                result_log = await self._open_result(
                    scope, caller, accepted, make_head(), counter, seconds
                )
            if accepted.read.kept_items is not None and event_log is None and result_log is None:
                make_head = partial(accepted.read.unkept.head, **make_head.keywords)
            head = make_head(logged=event_log is not None)
            encoder = encoder_of(head)
            delivery = Delivery(
                encoder, AsgiSink(send), heartbeat=self._settings.heartbeat, pace=counter.pace
            )
            decoder: Decoder | Continuing = dialect.decoder(head.choices, bounds.kept_here)
            if trace is not None:
                trace.decoder = decoder
            if accepted.read.continues:
                from lambda_fn.stream import failover  # rarely asked for

                prompts = failover.PromptReserve(self._table, admission, reservation)
                invocation = decoder = failover.continuing(
                    run,
                    lambda run_id, body: invoke(
                        credentials=credentials, request_id=run_id, body=body
                    ),
                    request,
                    model=model,
                    dialect=dialect,
                    bounds=bounds,
                    control=control,
                    counter=counter,
                    cancel=cancel_run,
                    reserve=prompts,
                    seconds=seconds,
                    stored=event_log is not None,
                )
            producer = Producer(
                invocation,
                decoder,
                counter,
                event_log or result_log or NoLog(),
                # Our container ends the response itself at its deadline, others do not.
                seconds=seconds + (limits.STREAM_GRACE if model.dialect == "sluice" else 0),
                grace=0 if model.dialect == "sluice" else limits.STREAM_GRACE,
                reservation=reservation,
                transform=accepted.read.transform(
                    model,
                    Policy(
                        self._settings.redaction,
                        self._settings.moderation,
                        admission.redact,
                        secret=self._settings.origin_secrets[0],
                        key_id=caller.key_id,
                    ),
                ),
                guard=None
                if moderator is None
                else moderator.guard(head.choices, request_id, whole=head.form.endswith("_body")),
                finishing=accepted.read.finishing(),
                clock=time.time if accepted.read.tells_time else None,
                on_stop=delivery.hasten,
            )
            checkpoints = Checkpoints(
                self._table, request_id, counter, producer.cancel, logged=event_log is not None
            )
            if accepted.read.background and not request.stream:
                from lambda_fn.encode.responses import snapshot
                from lambda_fn.stream.logged import run_out

                if event_log is not None:
                    event_log.on_end = producer.fence
                pumping = asyncio.create_task(run_out(producer, checkpoints))
                sink = AsgiSink(send)
                await sink.start(200, [(b"content-type", encoder.content_type.encode())])
                await sink.end(snapshot(head, ()))
            elif event_log is None:
                # A delivery that ends early does not cancel its producer. Here it does, because
                # without a log a response cannot be read after its client has left: the producer
                # ends with the context.
                with checkpoints:
                    async with producer:
                        await delivery.run(producer)
            else:
                from lambda_fn.stream.logged import Live  # not at a cold start

                event_log.on_end = producer.fence
                live = Live(producer, delivery, getattr(encoder, "lost", bytes))
                pumping = asyncio.create_task(live.pump(checkpoints))
                await _deliver(delivery, live, producer, pumping)
        except APIError as error:
            accepted.read.restate(error)
            counter.note(error)
            if counter.completion_tokens or error.status == UpstreamTimeout.status:
                # Tokens may have been billed, so only the caller may decide to send it again.
                error.headers |= NO_RETRY
            elif (
                request.model in self._settings.fallbacks
                and isinstance(error, RateLimited | Unavailable)
                and error.code not in ("log_unavailable", "guardrail_unavailable")
            ):
                raise _NoCapacity(error) from None
            raise
        except asyncio.CancelledError:
            counter.cancelled = stopping = True
            raise
        finally:
            if pumping is None or pumping.done():
                await finish()
            else:
                self._in_background(scope, _after(pumping, finish))

    @property
    def _keeps_logs(self) -> bool:
        return self._streams is not None and self._settings.persistence != "off"

    def _is_logged(self, read: ReadRequest, headers: Mapping[str, str]) -> bool:
        """Return whether the response to a request is logged."""
        if not self._keeps_logs or read.durable is False:
            return False
        extensions = read.request.sluice
        return (
            bool(read.durable)
            or (extensions is not None and extensions.cache is not None)
            or read.continues
            or "idempotency-key" in headers
            or self._settings.persistence == "all"
        )

    async def _open_log(
        self, scope: Scope, caller: Caller, accepted: _Accepted, head: Head, counter: UsageCounter
    ) -> "TableLog | None":
        """Return the open log of a response, or None if it is answered without one.

        Raises:
            Unavailable: the log cannot be opened, and the response may not be without.

        """
        from lambda_fn.stream.logged import HEADER, OFF, kept_input, open_log

        assert self._streams is not None  # noqa: S101 (`_is_logged`)
        event_log = await open_log(
            self._streams,
            head,
            counter,
            accepted.model,
            owner=caller.key_id,
            expires=self._expires(accepted.read, head.created),
            kept=kept_input(accepted.read),
            metadata=accepted.read.metadata,
            refuse=self._refuses_unlogged(accepted.read),
        )
        added = OFF if event_log is None else {HEADER: head.response_id}
        scope["sluice.response_headers"] = {**scope["sluice.response_headers"], **added}
        return event_log

    async def _repeats(
        self, scope: Scope, caller: Caller, accepted: _Accepted, headers: Mapping[str, str]
    ) -> "Repeats":
        """Return the identities of a request whose response is logged.

        Only the cache asks what the key redacts. Another environment may have seen the key before,
        so that is read. Raises as `Gate.redacted`.
        """
        from lambda_fn.stream.repeats import Asked, Repeats  # not at a cold start

        read = accepted.read
        extensions = read.request.sluice
        cache = None if extensions is None else extensions.cache
        redacted = () if cache is None else await self._gate.redacted(caller)
        asked = Asked(
            scope["method"],
            scope["path"],
            f"{read.form} {read.buffering}",
            accepted.body,
            self._settings.fingerprint(read.request.model)
            + msgspec.json.encode(
                [
                    self._settings.redaction,
                    self._settings.moderation,
                    redacted,
                ]
            ).decode(),
        )
        assert self._streams is not None  # noqa: S101 (`_is_logged`)
        return Repeats(
            self._streams,
            asked,
            headers,
            owner=caller.key_id,
            is_repeat=_is_repeat(headers),
            cache=cache,
        )

    async def _name(
        self,
        accepted: _Accepted,
        repeats: "Repeats",
        event_log: "TableLog | None",
        admission: Admission,
        same: str,
        counter: UsageCounter,
    ) -> None:
        """Store where repeats of a request find its response. Raises as `repeats.name`."""
        from lambda_fn.stream.repeats import name  # not at a cold start

        try:
            await name(
                repeats,
                event_log,
                admission,
                same,
                expires=self._expires(accepted.read, int(time.time())),
                refuse=self._refuses_unlogged(accepted.read),
            )
        except BaseException:
            counter.refused = True
            raise

    async def _replay(self, scope: Scope, send: Send, caller: Caller, head: "StoredHead") -> None:
        """Send a response that was generated for an earlier request of the same key.

        Raises:
            APIError: the key may not use it, or the response failed before its first token.

        """
        from lambda_fn.stream.replay import replay  # not at a cold start

        assert self._streams is not None  # noqa: S101 (`_is_logged`)
        account = await self._gate.check_key(caller)
        tables = (self._table, self._streams)
        await replay(tables, account, head, scope, send, self._settings)

    def _refuses_unlogged(self, read: ReadRequest) -> bool:
        """Return whether a response is refused if its log cannot be opened."""
        setting = self._settings.on_log_failure
        if read.background and not read.request.stream:  # nobody could read it
            return True
        return setting == "refuse" or (setting is None and bool(read.durable))

    async def _open_result(
        self,
        scope: Scope,
        caller: Caller,
        accepted: _Accepted,
        head: Head,
        counter: UsageCounter,
        seconds: float,
    ) -> "ResultLog | None":
        """Return the open log of a response that is kept whole, None if it cannot be kept.

        Raises:
            Unavailable: it cannot be kept, and the deployment refuses it then.

        """
        from lambda_fn.stream.logged import OFF, open_result  # not at a cold start

        assert self._streams is not None  # noqa: S101 (it keeps responses)
        result_log = await open_result(
            self._streams,
            head,
            counter,
            accepted.model,
            accepted.read,
            owner=caller.key_id,
            expires=self._expires(accepted.read, head.created),
            seconds=seconds,
            refuse=self._refuses_unlogged(accepted.read),
        )
        if result_log is None:
            scope["sluice.response_headers"] = {**scope["sluice.response_headers"], **OFF}
        return result_log

    def _expires(self, read: ReadRequest, created: int) -> int:
        """Return the Unix time until which a response of some time can be read."""
        if read.kept_items is None:
            return created + 3600 * self._settings.log_hours
        return created + 86_400 * self._settings.response_days

    async def _accept(
        self, caller: Caller, receive: Receive, headers: Mapping[str, str]
    ) -> _Accepted:
        """Read and parse the request's body, and find its model.

        Raises:
            APIError: the request cannot be answered. If the key has been revoked since it was last
                seen here, the error says only that.

        """
        try:
            body = await read_body(receive, headers, max_bytes=self._settings.max_body)
            found = self._read(body, headers)
            if isinstance(found, ReadRequest):
                read = found
            else:
                from lambda_fn.stream.history import history_of  # not at a cold start

                assert self._streams is not None  # noqa: S101 (it keeps responses)
                read = found.read(
                    await history_of(self._streams, caller.key_id, found.previous, found.references)
                )
            self._check_kept(read)
            name = self._settings.name_of(read.request.model)
            try:
                accepted = self._for_model(read, body, name)
            except APIError as error:
                read.restate(error)
                raise
            if accepted is None:
                raise await self._gate.no_model(caller, name, self._settings.unreadable)
        except APIError:
            await self._gate.check_key(caller)
            raise
        return accepted

    def _check_kept(self, read: ReadRequest) -> None:
        """Check what a request asks to be kept. Raises InvalidRequest."""
        extensions = read.request.sluice
        cached = extensions is not None and extensions.cache is not None
        if cached and read.durable is False:
            raise InvalidRequest(
                "'sluice.cache' keeps the response, and 'sluice.durable' is false. Send one of "
                "them.",
                param="sluice.cache",
            )
        if (read.durable or cached) and not self._keeps_logs:
            name = "sluice.durable" if read.durable else "sluice.cache"
            raise InvalidRequest(
                "This deployment keeps no responses: its setting 'persistence' is 'off'. Send "
                f"the request without '{name}'.",
                param=name,
            )

    def _for_model(self, asked: ReadRequest, body: bytes, name: str) -> _Accepted | None:
        """Return a request as the model of this name gets it, or None if there is none.

        Raises:
            InvalidRequest: the request asks for what the model's server cannot do.
            BodyTooLarge: the body is larger than this model's may be.

        """
        model = self._settings.models.get(name)
        if model is None:
            return None
        size = len(body) + asked.history_size
        if size > model.max_body:
            what = "conversation" if asked.history_size else "body"
            raise BodyTooLarge(f"The {what} is over {model.max_body} bytes. Send a smaller one.")
        dialect = self._dialects[model.dialect]
        read = asked.named(name).served_by(model, dialect)
        dialect.check(read.request)
        if read.continues:
            from lambda_fn.stream.failover import check  # rarely asked for

            check(read.request, dialect)
        images, size = _images(read, model, size)
        return _Accepted(asked, read, body, model, dialect, size, images)

    def _moderator(self) -> "Moderator | None":
        if self._settings.moderation == NO_MODERATION:
            return None
        from lambda_fn.stream.moderate import Moderator  # not at a cold start

        return Moderator(self._settings, self._client, self._credentials)

    def _in_background(self, scope: Scope, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background. On Lambda it finishes before the next invocation is
        fetched.
        """
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if (after := scope.get("aws.after")) is not None:
            after.append(task)


async def _deliver(
    delivery: Delivery, live: "Live", producer: Producer, pumping: asyncio.Task[None]
) -> None:
    """Deliver a logged response to its live client.

    If the client leaves or is let go, the response goes on, and `pumping` with it. An error of the
    delivery's own ends it, because nobody can read it then.

    Raises:
        Exception: as `Delivery.run`.

    """
    try:
        await delivery.run(live)
    except (APIError, asyncio.CancelledError):
        if not producer.ended:
            pumping.cancel()
        await asyncio.wait([pumping])
        raise
    finally:
        live.leave()
    await asyncio.wait([pumping])


async def _after(pumping: asyncio.Task[None], finish: Callable[[], Awaitable[None]]) -> None:
    """Finish a logged response whose client has left when it has ended."""
    await asyncio.wait([pumping])
    await finish()


def _images(read: ReadRequest, model: Model, size: int) -> "tuple[Sequence[Image], int]":
    """Return a request's images, checked, and the size of its body without them."""
    if not has_images(read.request.messages):
        return (), size
    from lambda_fn.stream.images import images_of, text_size  # not at a cold start

    images = images_of(read.request, model, read.images)
    return images, text_size(size, images)


def _image_tokens(images: "Sequence[Image]", model: Model) -> int:
    if not images:
        return 0
    from lambda_fn.stream.images import prompt_tokens

    return prompt_tokens(images, model)


def _is_repeat(headers: Mapping[str, str]) -> bool:
    """Return whether a request may have been sent before.

    OpenAI's SDKs send the number of the retry, and some callers send an idempotency key.
    """
    return (
        headers.get("x-stainless-retry-count", "0").strip() not in {"", "0"}
        or "idempotency-key" in headers
    )


def _seconds_left(scope: Scope, *, logged: bool) -> float:
    """Return the seconds that the container gets for its response."""
    context = scope.get("aws.context")
    if context is None:
        return limits.STREAM_DEADLINE
    left: float = context.remaining() - limits.SETTLE_RESERVE - limits.STREAM_GRACE
    if logged:
        left -= limits.LOG_END_TIMEOUT
    return max(1.0, min(limits.STREAM_DEADLINE, left))
