"""The stages of a completion, and the only file that knows their order.

    authenticate -> admit -> invoke -> decode -> count -> transform -> number
        -> encode -> deliver -> settle

`Completions` authenticates and parses a request, and a `Pipeline` does the rest. Its producer does
everything from invoke to number. Its delivery encodes and delivers. A logged response has a log
between them, and goes on when its client leaves (`logged`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.dialects import Decoder, Dialect
from lambda_fn.encode import Head, encoder_of
from lambda_fn.errors import (
    NO_RETRY,
    APIError,
    RateLimited,
    Unavailable,
    UpstreamTimeout,
)
from lambda_fn.event_log import NoLog
from lambda_fn.http.client import Client
from lambda_fn.schema import ChatRequest, Control
from lambda_fn.settings import NO_MODERATION, Model, Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.carrier import Carrier
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.negotiate import Policy, ReadRequest
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.settle import Checkpoints, settle
from lambda_fn.stream.token_bounds import Bounds, fingerprint
from lambda_fn.stream.usage_counter import Pace, UsageCounter

if TYPE_CHECKING:
    from lambda_fn.stream.continuing import Continuing
    from lambda_fn.stream.conversing import Conversing
    from lambda_fn.stream.failover import PromptReserve
    from lambda_fn.stream.images import Image
    from lambda_fn.stream.moderate import Moderator
    from lambda_fn.stream.queueing import Place
    from lambda_fn.stream.repeats import Repeats
    from lambda_fn.stream.reservation import Reservation
    from lambda_fn.stream.traces import Tracer
    from lambda_fn.stream_log.heads import StoredHead
    from lambda_fn.stream_log.results import ResultLog
    from lambda_fn.stream_log.table_log import TableLog
    from lambda_fn.stream_log.watching import Watch


class Shared(NamedTuple):
    """The objects that all requests of an environment share.

    `streams` is StreamTable, None without one. `watch` returns what watches the heads in it.
    Nothing is traced without a `tracer`.
    """

    settings: Settings
    client: Client
    credentials: Callable[[], Credentials]
    table: Table
    gate: Gate
    streams: Table | None
    watch: Callable[[], "Watch"]
    tracer: "Tracer | None" = None


def share(
    settings: Settings,
    client: Client,
    credentials: Callable[[], Credentials],
    table: Table,
    gate: Gate,
    tracer: "Tracer | None" = None,
) -> Shared:
    """Return what the requests of an environment share. `table` is the usage table."""
    streams: Table | None = None
    if settings.stream_table is not None:
        streams = Table(
            client,
            url=settings.dynamodb_url,
            region=settings.region,
            name=settings.stream_table,
            credentials=credentials,
        )

    @cache
    def watch() -> "Watch":
        from lambda_fn.stream_log.watching import Watch  # not at a cold start

        assert streams is not None  # noqa: S101 (responses are logged)
        return Watch(streams)

    return Shared(settings, client, credentials, table, gate, streams, watch, tracer)


class Accepted(NamedTuple):
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
    continues: bool
    """Whether the response goes on if its container ends before it."""


class NoCapacity(Exception):
    """The model has no capacity for a request, and nothing was sampled or sent."""

    def __init__(self, error: APIError) -> None:
        """Keep the error that the client gets if no other model answers."""
        super().__init__()
        self.error = error


class Pipeline:
    """One request on its way through the stages, with one model."""

    def __init__(
        self,
        shared: Shared,
        carrier: Carrier,
        accepted: Accepted,
        repeats: "Repeats | None" = None,
        *,
        place: "Place | None" = None,
        claimed: "StoredHead | None" = None,
    ) -> None:
        """Take an authenticated request. Its response is logged if it has `repeats`.

        `place` is freed after its settlement. `claimed` is the head of a queued response, which
        this pipeline has claimed and runs without a client.
        """
        self._counter = UsageCounter()
        self._shared = shared
        self._settings = shared.settings
        self._carrier = carrier
        self._accepted = accepted
        self._repeats = repeats
        self._place = place
        self._claimed = claimed
        self._request_id = carrier.request_id
        self._reservation: Reservation | None = None
        self._prompts: PromptReserve | None = None
        self._moderator: Moderator | None = None
        self._run: Invocation | None = None
        """The invocation of the model, if it is sent before the response is opened."""
        self._invocation: Invocation | Continuing | None = None
        self._event_log: TableLog | None = None
        self._result_log: ResultLog | None = None
        self._claimed_log: TableLog | ResultLog | None = None
        self._has_head = False
        """Whether the response may have a head in StreamTable whose end its ledger item watches."""
        self.waits = False
        """Whether a background response found no room, so that it has not ended and waits."""
        self.found_no_room: APIError | None = None
        """The error of its model, which the client of such a response has not seen."""
        self._conversing: Conversing | None = None
        """The log again, of a response that is appended to a conversation."""
        self._running: asyncio.Task[None] | None = None
        """What runs a response that does not need its client."""
        if shared.tracer is not None:
            trace = self._counter.trace = shared.tracer.begin(
                carrier.headers, carrier.path, carrier.in_background
            )
            trace.named = accepted.asked.request.model
            trace.streamed = accepted.read.request.stream
        self._stopping = False
        """Whether the process ends, and has no time to cancel anything."""

    async def run(self) -> None:
        """Answer the request, and settle it.

        Raises:
            NoCapacity: the model has no capacity, and there may be a fallback.
            APIError: it failed, and its response has not begun.
            Attached: another request has the response already.
            Exception: as `Delivery.run`.

        """
        await self._admit()
        try:
            await self._wait_for_owner()
            request = await self._checked()
            run = self._prepare(request)
            await self._ask_first(run)
            try:
                head = await self._open_log()
            except APIError:
                self._counter.refused = True
                raise
            await self._answer(head, run, request)
        except APIError as error:
            self._note(error)
            raise
        except asyncio.CancelledError:
            self._counter.cancelled = self._stopping = True
            raise
        finally:
            if self._running is None or self._running.done():
                await self._finish()
            else:
                self._carrier.in_background(_after(self._running, self._finish))

    async def _admit(self) -> None:
        """Admit the request, and fix its bounds. Raises as `Gate.admit`."""
        accepted, carrier, settings = self._accepted, self._carrier, self._settings
        request, model, is_logged = accepted.read.request, accepted.model, self._repeats is not None
        images = _image_tokens(accepted.images, model)
        bounds = self._bounds = Bounds.of(request, model, size=accepted.size, images=images)
        self._fingerprint = fingerprint(accepted.body, carrier.headers.get("idempotency-key", ""))
        admission = self._admission = await self._shared.gate.admit(
            carrier.caller,
            bounds.opening(
                self._request_id,
                key_id=carrier.caller.key_id,
                name=request.model,
                model=model,
                overdue=settings.overdue,
            ),
            fingerprint=self._fingerprint,
            repeat=is_repeat(carrier.headers) and not is_logged,
        )
        self._counter.admitted()
        self._counter.image_tokens = bounds.images
        if settings.deployment is not None or self._counter.trace is not None:
            self._counter.pace = Pace(self._counter)
        if bounds.grows:
            from lambda_fn.stream.reservation import growing

            self._reservation = growing(
                self._shared.table, admission, bounds, meter_open=settings.meter_open
            )
        carrier.response_headers = admission.headers
        self._created = int(time.time())
        self._seconds = _seconds(carrier.seconds_left(), is_logged=is_logged)
        self._control = Control(
            request_id=self._request_id,
            deadline_ms=int(self._seconds * 1000),
            max_prompt_tokens=bounds.prompt,
            caller=carrier.caller.key_id,
            soft_thinking=accepted.read.soft_thinking or msgspec.UNSET,
        )

    async def _wait_for_owner(self) -> None:
        """Wait until the carrier lets the request go on. Raises as `Carrier.admitted`."""
        try:
            await self._carrier.admitted()
        except BaseException:
            self._counter.refused = True
            raise

    async def _checked(self) -> ChatRequest:
        """Return the request with every image in it, if nothing forbids its prompt.

        Raises:
            InvalidRequest: moderation blocks it, or an image cannot be fetched.
            Unavailable: the guardrail did not answer, and the deployment wants its verdict.

        """
        accepted = self._accepted
        request = accepted.read.request
        if any(not image.width for image in accepted.images):
            from lambda_fn.stream.remote_images import with_images

            request = await with_images(request, accepted.images, accepted.model, accepted.size)
        if not self._settings.moderation.is_empty:
            from lambda_fn.stream.moderate import Moderator, modes_of  # not at a cold start

            shared = self._shared
            modes = modes_of(
                self._settings.moderation, request, key_blocks=self._admission.filters.blocks
            )
            self._moderator = Moderator(shared.settings, shared.client, shared.credentials, modes)
            await self._moderator.check(request, self._request_id)
        return request

    def _prepare(self, request: ChatRequest) -> Invocation:
        """Return the invocation of the model, which the producer sends."""
        shared, accepted = self._shared, self._accepted
        self._invoke = partial(
            Invocation,
            shared.client,
            url=self._settings.sagemaker_url,
            region=self._settings.region,
            credentials=shared.credentials(),
            endpoint=accepted.model.endpoint,
            component=accepted.model.component,
            refusal=accepted.dialect.rejection,
            attributes=self._counter.attributes,
        )
        body = accepted.dialect.body(self._bounds.applied(request), self._control)
        run = self._invocation = self._invoke(request_id=self._request_id, body=body)
        return run

    async def _ask_first(self, run: Invocation) -> None:
        """Ask the model before the response is opened in StreamTable, if it may be.

        So the first token does not wait for StreamTable. Nothing is sent to the client before the
        response is opened.
        """
        read, repeats = self._accepted.read, self._repeats
        if self._claimed is not None or (repeats is None and read.kept_items is None):
            return
        from lambda_fn.stream import keeping  # not at a cold start

        if keeping.asks_first(self._shared, read, repeats):
            self._run = run
            self._counter.invoked()
            run.send()
            await asyncio.sleep(limits.LOG_OPEN_AFTER)

    async def _open_log(self) -> Head:
        """Open the log of the response if it has one, and return its head.

        Raises:
            Unavailable: the log cannot be opened, and the response must not be sent without one.
            Attached: another request has the response already. APIError: as `repeats.name` and
            `conversing.converse`.

        """
        read = self._accepted.read
        if self._repeats is None and read.kept_items is None:
            return self._head(read)
        from lambda_fn.stream import keeping  # not at a cold start

        if self._claimed is not None:
            self._claimed_log = keeping.adopt(self._shared, self._claimed, self._counter)
            if read.appends:
                await self._converse(self._claimed_log)
            return self._claimed.head
        self._has_head = self._claimed is None
        about = self._shared, self._carrier, self._accepted
        if self._repeats is None:
            self._result_log = await keeping.open_result(
                *about, self._head(read), self._counter, seconds=self._seconds
            )
        else:
            self._event_log = await keeping.open_log(
                *about, self._head(read, is_logged=True), self._counter, self._repeats
            )
            self._carrier.response_headers = {
                **self._carrier.response_headers,
                **keeping.headers(self._event_log),
            }
            await self._name(self._repeats)
        if read.kept_items is not None and self._event_log is None and self._result_log is None:
            read = read.unkept
        log = self._event_log or self._result_log
        if read.appends and log is not None:
            await self._converse(log)
        return self._head(read, is_logged=self._event_log is not None)

    async def _name(self, repeats: "Repeats") -> None:
        """Store where repeats of the request find its response. Raises as `repeats.name`."""
        from lambda_fn.stream import keeping

        try:
            await keeping.name(
                *(self._shared, self._accepted, repeats, self._event_log),
                *(self._admission, self._fingerprint),
            )
        except BaseException:
            self._counter.refused = True
            raise

    async def _converse(self, log: "TableLog | ResultLog") -> None:
        """Take the lock of the conversation of the request. Raises as `conversing.converse`."""
        from lambda_fn.stream import keeping

        try:
            self._conversing = await keeping.converse(
                *(self._shared, self._accepted.read, log),
                self._request_id if self._claimed is None else self._claimed.response_id,
                seconds=self._seconds,
            )
        except BaseException:
            self._counter.refused = True
            raise

    def _head(self, read: ReadRequest, *, is_logged: bool = False) -> Head:
        return read.head(
            response_id=self._request_id,
            created=self._created,
            fingerprint=self._settings.fingerprint(read.request.model),
            max_bytes=self._settings.max_whole,
            logged=is_logged,
        )

    async def _answer(self, head: Head, run: Invocation, request: ChatRequest) -> None:
        """Produce the response and deliver it. Raises as `Delivery.run`."""
        if self._claimed_log is not None:
            await self._run_claimed(head, run, request, self._claimed_log)
            return
        encoder, sink = encoder_of(head), self._carrier.sink
        delivery = Delivery(
            encoder, sink, heartbeat=self._settings.heartbeat, pace=self._counter.pace
        )
        producer = self._producer(head, run, request, delivery.hasten)
        event_log = self._event_log
        checkpoints = Checkpoints(
            self._shared.table,
            self._request_id,
            self._counter,
            producer.cancel,
            logged=event_log is not None,
        )
        if event_log is not None:
            event_log.on_end = producer.fence
            if event_log.was_cancelled is not None:
                producer.fence(event_log.was_cancelled)
        if event_log is not None and self._place is not None:
            from lambda_fn.stream.keeping import may_wait

            event_log.may_wait = may_wait(delivery)
        self._carrier.running(producer.cancel)
        if self._accepted.read.background and not request.stream:
            from lambda_fn.encode.responses import snapshot
            from lambda_fn.stream.logged import run_out

            self._running = asyncio.create_task(run_out(producer, checkpoints))
            await sink.start(200, [(b"content-type", encoder.content_type.encode())])
            await sink.end(snapshot(head, ()))
        elif event_log is not None:
            from lambda_fn.stream.logged import Live, deliver  # not at a cold start

            live = Live(producer, delivery, getattr(encoder, "lost", bytes))
            self._running = asyncio.create_task(live.pump(checkpoints))
            try:
                await deliver(delivery, live, producer, self._running)
            except APIError as error:
                if not event_log.waits:
                    raise
                self.found_no_room = error
        else:
            # A delivery that ends early does not cancel its producer. Here it does, because
            # without a log a response cannot be read after its client has left: the producer
            # ends with the context.
            with checkpoints:
                async with producer:
                    await delivery.run(producer)

    async def _run_claimed(
        self, head: Head, run: Invocation, request: ChatRequest, log: "TableLog | ResultLog"
    ) -> None:
        """Produce a queued response to its end, which its client reads later."""
        from lambda_fn.stream.logged import run_out

        producer = self._producer(head, run, request)
        log.on_end = producer.fence
        checkpoints = Checkpoints(
            self._shared.table, self._request_id, self._counter, producer.cancel
        )
        await run_out(producer, checkpoints)
        self.waits = self._counter.refused = log.waits
        if self.waits and self._conversing is not None:
            await self._conversing.leave()

    def _producer(
        self,
        head: Head,
        run: Invocation,
        request: ChatRequest,
        on_stop: Callable[[APIError], None] | None = None,
    ) -> Producer:
        """Return what makes the events of the response, by one run of the model or several.

        `on_stop` is as in `Producer`.
        """
        accepted, settings, moderator = self._accepted, self._settings, self._moderator
        decoder: Decoder | Continuing = accepted.dialect.decoder(
            head.choices, self._bounds.kept_here
        )
        if self._counter.trace is not None:
            self._counter.trace.decoder = decoder
        invocation: Invocation | Continuing = run
        if accepted.continues:
            invocation = decoder = self._continuing(run, request)
        checks = moderator is not None and moderator.modes.checks_output
        policy = Policy(
            settings.redaction,
            settings.moderation if checks else NO_MODERATION,
            self._admission.filters.redact,
            secret=settings.origin_secrets[0],
            key_id=self._carrier.caller.key_id,
            blocks=moderator is None or moderator.modes.blocks_output,
            flagged=None if moderator is None else moderator.flagged,
        )
        # Our container ends the response itself at its deadline, others do not.
        is_ours = accepted.model.dialect == "sluice"
        return Producer(
            invocation,
            decoder,
            self._counter,
            self._conversing or self._event_log or self._result_log or self._claimed_log or NoLog(),
            seconds=self._seconds + (limits.STREAM_GRACE if is_ours else 0),
            grace=0 if is_ours else limits.STREAM_GRACE,
            reservation=self._reservation,
            transform=accepted.read.transform(accepted.model, policy),
            guard=None
            if moderator is None
            else moderator.guard(head.choices, self._request_id, whole=head.form.endswith("_body")),
            finishing=accepted.read.finishing(settings.origin_secrets, self._carrier.caller.key_id),
            clock=time.time if accepted.read.tells_time else None,
            on_stop=on_stop,
            moderation=moderator.told if moderator is not None and moderator.modes.tells else None,
        )

    def _continuing(self, run: Invocation, request: ChatRequest) -> "Continuing":
        """Return the runs of a response that goes on if its container ends before it."""
        from lambda_fn.stream import failover  # rarely asked for

        accepted, invoke = self._accepted, self._invoke
        self._prompts = failover.PromptReserve(
            self._shared.table, self._admission, self._reservation
        )
        runs = self._invocation = failover.continuing(
            run,
            lambda run_id, body: invoke(request_id=run_id, body=body),
            request,
            model=accepted.model,
            dialect=accepted.dialect,
            bounds=self._bounds,
            control=self._control,
            counter=self._counter,
            cancel=partial(_cancel, invoke, accepted.dialect),
            reserve=self._prompts,
            seconds=self._seconds,
            stored=self._event_log is not None,
        )
        return runs

    def _note(self, error: APIError) -> None:
        """Note the error that ends the request, and tell the caller whether to send it again.

        Raises:
            NoCapacity: the model has no capacity, and there may be a fallback.

        """
        read = self._accepted.read
        read.restate(error)
        self._counter.note(error)
        if self._counter.completion_tokens or error.status == UpstreamTimeout.status:
            # Tokens may have been billed, so only the caller may decide to send it again.
            error.headers |= NO_RETRY
        elif (
            read.request.model in self._settings.fallbacks
            and isinstance(error, RateLimited | Unavailable)
            and error.code not in ("log_unavailable", "guardrail_unavailable")
        ):
            raise NoCapacity(error) from None

    async def _finish(self) -> None:
        """Cancel what the container may still do, and settle."""
        invocation, carrier, dialect = self._invocation, self._carrier, self._accepted.dialect
        if invocation is not None and invocation.left and not self._stopping:
            carrier.in_background(_cancel(self._invoke, dialect, invocation.request_id))
        if self._run is not None:
            self._run.close()
        if self._event_log is not None and self._event_log.waits:
            await self._enqueue(self._event_log)
        logs = (self._event_log, self._result_log, self._claimed_log)
        for log in logs if self._conversing is None else (self._conversing,):
            if log is not None:
                carrier.in_background(log.close())
        if self._repeats is not None and self._counter.ended is not None:
            carrier.in_background(self._repeats.forget(self._request_id))
        if self._event_log is not None:
            self._counter.flush_lag = self._event_log.lag
        final = self._admission
        if self._reservation is not None:
            final = msgspec.structs.replace(final, entry=self._reservation.hold)
        elif self._prompts is not None:
            final = msgspec.structs.replace(final, entry=self._prompts.hold)
        has_end = self.waits or any(log is not None and log.has_end for log in logs)
        await asyncio.shield(
            settle(
                self._shared.table,
                final,
                self._counter,
                deployment=self._settings.deployment,
                watched=self._has_head and not has_end,
            )
        )
        if self._place is not None:
            place = self._place
            # Nobody knows the id of a response that was refused, so no webhook is told its end.
            freed = place.release if self._counter.refused else place.end
            carrier.in_background(place.release_run() if self.waits else freed())

    async def _enqueue(self, event_log: "TableLog") -> None:
        """Queue the response until there is capacity. If that fails, its lease ends it."""
        from lambda_fn.stream.queueing import enqueue

        self._counter.refused = True
        self.waits = await enqueue(self._shared, self._carrier, self._accepted, event_log.stored)
        if self._conversing is not None:
            await self._conversing.leave()


async def _cancel(invoke: "partial[Invocation]", dialect: Dialect, run_id: str) -> None:
    """Cancel a run in its container, if that knows how to."""
    body = dialect.cancel(run_id)
    if body is not None:
        from lambda_fn.stream.cancel import cancel  # most responses end by themselves

        await cancel(partial(invoke, request_id=run_id, body=body), run_id)


async def _after(running: asyncio.Task[None], finish: Callable[[], Awaitable[None]]) -> None:
    """Finish a logged response whose client has left when it has ended."""
    await asyncio.wait([running])
    await finish()


def _image_tokens(images: "Sequence[Image]", model: Model) -> int:
    if not images:
        return 0
    from lambda_fn.stream.images import prompt_tokens

    return prompt_tokens(images, model)


def is_repeat(headers: Mapping[str, str]) -> bool:
    """Return whether a request may have been sent before.

    OpenAI's SDKs send the number of the retry, and some callers send an idempotency key.
    """
    return (
        headers.get("x-stainless-retry-count", "0").strip() not in {"", "0"}
        or "idempotency-key" in headers
    )


def _seconds(left: float | None, *, is_logged: bool) -> float:
    """Return the seconds that the container gets for its response.

    `left` is how many this process has, None if it is not limited.
    """
    if left is None:
        return limits.STREAM_DEADLINE
    left -= limits.SETTLE_RESERVE + limits.STREAM_GRACE
    if is_logged:
        left -= limits.LOG_END_TIMEOUT
    return max(1.0, min(limits.STREAM_DEADLINE, left))
