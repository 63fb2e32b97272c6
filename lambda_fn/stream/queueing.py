"""Background responses: their places, and those that are queued and run without a client.

    ask      check the request, take a place of the key, put the head as queued, answer
    run      claim the head, take a place of those that run, admit, invoke ... settle

A queued response runs in the invocation that accepted it, or with `background=invoke` in a separate
one, which Lambda starts later. Its reservation is made when it runs: each run is a request of its
own in the ledger. If a run finds no capacity of the model, or its key has reached a rate limit, the
response waits. The keeper of background responses runs it again (`lambda_fn.background`).

A background response that is streamed, or that repeats can find, is logged, and runs at once in the
invocation that accepted it. It takes both places first. If the model has no capacity, it is queued
then, and waits as the others do. Its client holds on meanwhile, as a reader of the log.
"""

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

import msgspec

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterError, MeterUnavailable, Table
from lambda_fn.aws.functions import Functions, NotInvoked
from lambda_fn.encode import Head, encoder_of
from lambda_fn.encode.responses import snapshot
from lambda_fn.errors import APIError, RateLimited, Unavailable, internal_error
from lambda_fn.event_log import failed_by
from lambda_fn.ids import new_request_id
from lambda_fn.log import log
from lambda_fn.runtime.event import run_event
from lambda_fn.stream.carrier import Carrier
from lambda_fn.stream.endings import tell_end
from lambda_fn.stream.keeping import expires_at, finds_no_room
from lambda_fn.stream.logged import kept_input
from lambda_fn.stream.negotiate import BUFFER_HEADER, ReadRequest
from lambda_fn.stream.pipeline import Accepted, NoCapacity, Pipeline, Shared, is_repeat
from lambda_fn.stream.rate_limit_errors import rate_headers
from lambda_fn.stream.resume import resume
from lambda_fn.stream.sinks import Sink
from lambda_fn.stream.token_bounds import Bounds, fingerprint
from lambda_fn.stream_log import places, queued
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import (
    Ending,
    StoredHead,
    end_update,
    new_name,
    open_head,
    read_head,
    win,
)
from lambda_fn.stream_log.keys import UnknownVersion
from lambda_fn.stream_log.queued import REQUEST, Asked
from lambda_fn.stream_log.results import Input, write_input

_UNREADABLE = (MeterError, UnknownVersion, Incomplete)
_HEADERS = (BUFFER_HEADER, "traceparent", "tracestate")
"""The headers that a queued request keeps: those that shape its response, and of its trace."""
_RETRY_AFTER = 10


class Answerer(Protocol):
    """What parses a request. `Completions` does."""

    async def accept(self, carrier: Carrier) -> Accepted:
        """Return the parsed request of a carrier. Raises APIError."""
        ...


class Place:
    """The places of one background response."""

    def __init__(
        self, shared: Shared, owner: str, response_id: str, mark: str | None = None
    ) -> None:
        """Take what names the places. Only `take` needs `mark`, the fingerprint of the request."""
        assert shared.streams is not None  # noqa: S101 (background responses are kept)
        self._shared = shared
        self._table = shared.streams
        self._owner = owner
        self._id = response_id
        self._mark = mark
        self._run: str | None = None

    async def take(self) -> Mapping[str, str]:
        """Take a place of the key. Return all places of the key: response id -> fingerprint.

        Raises:
            RateLimited: the key has as many unended background responses as it may have.
            Unavailable: StreamTable does not answer.

        """
        maximum = self._shared.settings.background.per_key
        assert self._mark is not None  # noqa: S101 (as its description says)
        try:
            return await self._take(self._owner, self._mark, maximum)
        except places.Full:
            raise RateLimited(
                f"This key has {maximum} background responses that have not ended, which is the "
                "maximum. Wait until one has ended, or cancel one.",
                code="background_limit",
                retry_after=_RETRY_AFTER,
            ) from None

    async def take_run(self, run: str) -> None:
        """Take a place of those that run. Raises RateLimited and Unavailable, as `take`."""
        self._run = run  # released also if it is not known whether it was taken
        try:
            await self._take(None, run, self._shared.settings.background.at_once)
        except places.Full:
            raise RateLimited(
                "This deployment already runs its maximum of background responses. Try again later, "
                "or without 'stream', so that the response waits for its turn.",
                code="background_full",
                retry_after=_RETRY_AFTER,
            ) from None

    async def _take(self, owner: str | None, mark: str, maximum: int) -> Mapping[str, str]:
        now = time.time()
        expires = int(now) + 3600 * self._shared.settings.background.wait_hours + 86_400
        try:
            return await places.take(
                *(self._table, owner, self._id, mark), maximum=maximum, expires=expires, now=now
            )
        except _UNREADABLE as error:
            log("background_lost", request_id=self._id, error=type(error).__name__)
            raise _unavailable() from None

    async def release_run(self) -> None:
        """Free the place of the run. If that fails, the keeper does it. Raises nothing."""
        run, self._run = self._run, None
        if run is not None:
            await self._release(None, run)

    async def release(self) -> None:
        """Free all places of a response that does not exist, as `release_run`."""
        await self.release_run()
        await self._release(self._owner, self._mark)

    async def end(self) -> None:
        """Free all places of a response that has ended, as `release_run`.

        With a webhook, the keeper frees the place of the key: until then, the place shows that the
        webhook has to be called.
        """
        await self.release_run()
        shared = self._shared
        about = (self._id, self._owner)
        if not await tell_end(shared.settings, shared.client, shared.credentials, *about):
            await self._release(self._owner, self._mark)

    async def _release(self, owner: str | None, mark: str | None) -> None:
        try:
            await places.release(self._table, owner, self._id, mark)
        except MeterUnavailable as error:
            log("place_kept", request_id=self._id, error=str(error))


async def hold(shared: Shared, carrier: Carrier, accepted: Accepted) -> Place:
    """Take the places of a background response that runs at once. Raises as `Place.take`."""
    place = _place(shared, carrier, accepted.body)
    await place.take()
    try:
        await place.take_run(carrier.request_id)
    except APIError:
        await place.release()
        raise
    return place


def _place(shared: Shared, carrier: Carrier, body: bytes) -> Place:
    mark = fingerprint(body, carrier.headers.get("idempotency-key", ""))
    return Place(shared, carrier.caller.key_id, carrier.request_id, mark)


async def ask(shared: Shared, carrier: Carrier, accepted: Accepted, answerer: Answerer) -> None:
    """Queue a response, send its state to the client, and start its run.

    A repeat of a request whose response has not ended gets that response.

    Raises:
        APIError: the request cannot be answered, and nothing is queued.

    """
    assert shared.streams is not None  # noqa: S101 (background responses are kept)
    request, model = accepted.read.request, accepted.model
    bounds = Bounds.of(request, model, size=accepted.size)
    opening = bounds.opening(
        carrier.request_id,
        key_id=carrier.caller.key_id,
        name=request.model,
        model=model,
        overdue=shared.settings.overdue,
    )
    account = await shared.gate.foresee(carrier.caller, opening)
    now = time.time()
    carrier.response_headers = rate_headers(account, when=now, now=now)
    place = _place(shared, carrier, accepted.body)
    taken = await place.take()
    try:
        earlier = await _repeated(shared.streams, carrier, accepted.body, taken)
        if earlier is not None:
            await place.release()
            await tell(carrier, earlier.head, earlier.status)
            return
        _check_lock(accepted.read)
        stored = await _put(shared, carrier, accepted)
    except BaseException:
        await place.release()
        raise
    if shared.settings.background.invoke:
        await _call(shared, stored)
    else:
        work = run(shared, answerer, stored.response_id, carrier, (stored, accepted))
        carrier.in_background(work)
    await tell(carrier, stored.head, "queued")


def _check_lock(read: ReadRequest) -> None:
    """Raise InvalidRequest if a response would be queued that finds its conversation locked."""
    seen = read.conversation
    if read.appends and seen is not None and seen.lock is not None:
        from lambda_fn.stream.conversing import conversation_error  # few requests name one
        from lambda_fn.stream_log.conversations import Locked

        raise conversation_error(Locked(), seen.id, "conversation")


async def _repeated(
    table: Table, carrier: Carrier, body: bytes, taken: Mapping[str, str]
) -> StoredHead | None:
    """Return the head of the response that a repeat gets; None if the request is no repeat."""
    if not is_repeat(carrier.headers):
        return None
    own = taken.get(carrier.request_id)
    for name, mark in taken.items():
        if mark == own and name != carrier.request_id:
            try:
                head = await read_head(table, name, now=time.time())
            except _UNREADABLE:
                raise _unavailable() from None
            if head is not None and not head.is_final:
                return head
    return None


async def enqueue(shared: Shared, carrier: Carrier, accepted: Accepted, stored: StoredHead) -> bool:
    """Queue a logged response that found no capacity, and return whether it waits.

    If StreamTable does not answer, its lease ends it. `stored` is its head. Raises nothing.
    """
    assert shared.streams is not None  # noqa: S101 (background responses are kept)
    table, name, now = shared.streams, stored.response_id, time.time()
    until = now + 3600 * shared.settings.background.wait_hours
    asked = _asked(carrier, accepted)
    try:
        parts = await queued.write_request(table, name, asked, expires=stored.expires)
        head = await queued.enqueue(table, stored, parts=parts, until=until, now=now)
    except _UNREADABLE as error:
        log("background_lost", request_id=name, error=type(error).__name__)
        return False
    return head is not None


async def hold_on(shared: Shared, carrier: Carrier, response_id: str) -> None:
    """Send a response that waits to the client that asked for it, as it comes.

    The stream ends without a terminal event shortly before this process does. The client then
    resumes it.

    Raises:
        Unavailable: StreamTable does not answer.
        Exception: as `resume`.

    """
    assert shared.streams is not None  # noqa: S101 (background responses are kept)
    try:
        head = await read_head(shared.streams, response_id, now=time.time())
    except _UNREADABLE:
        head = None
    if head is None:
        raise _unavailable()
    await resume(
        *(shared.streams, head, -1, carrier.sink),
        seconds=carrier.seconds_left(),
        settings=shared.settings,
        request_id=carrier.request_id,
    )


def _asked(carrier: Carrier, accepted: Accepted) -> Asked:
    """Return the request as it is stored."""
    headers = carrier.headers
    return Asked(
        carrier.path,
        accepted.body.decode(),
        {name: headers[name] for name in _HEADERS if name in headers},
        carrier.caller.address,
    )


async def _put(shared: Shared, carrier: Carrier, accepted: Accepted) -> StoredHead:
    """Store a queued response with its request. Raises Unavailable."""
    assert shared.streams is not None  # noqa: S101 (background responses are kept)
    read, model, now = accepted.read, accepted.model, time.time()
    table, settings = shared.streams, shared.settings
    head = read.head(
        response_id=carrier.request_id,
        created=int(now),
        fingerprint=settings.fingerprint(read.request.model),
        max_bytes=settings.max_whole,
    )
    expires = expires_at(shared, read, head.created)
    asked = _asked(carrier, accepted)
    stored = StoredHead(
        head=head,
        owner=carrier.caller.key_id,
        status="queued",
        created=head.created,
        expires=expires,
        kept="result",
        metadata=read.metadata or None,
        endpoint=model.endpoint,
        component=model.component,
        dialect=model.dialect,
        invoked=round(now, 3),
        starter=new_name(),
        until=round(now + 3600 * settings.background.wait_hours, 3),
        writer=new_name(),
    )
    try:
        kept = kept_input(read) or Input()
        bodies = await write_input(table, head.response_id, kept, expires=expires)
        parts = await queued.write_request(table, head.response_id, asked, expires=expires)
        stored = msgspec.structs.replace(stored, bodies={**bodies, REQUEST: parts})
        await open_head(table, stored)
    except (MeterError, TimeoutError) as error:
        log("log_closed", request_id=head.response_id, error=type(error).__name__)
        raise _unavailable() from None
    return stored


async def _call(shared: Shared, stored: StoredHead) -> None:
    """Invoke this function for a response, asynchronously. If that fails, the response waits."""
    settings = shared.settings
    functions = Functions(
        shared.client,
        url=settings.lambda_url,
        region=settings.region,
        credentials=shared.credentials,
    )
    assert shared.streams is not None  # noqa: S101 (background responses are kept)
    function = f"{settings.function}:{settings.background.alias}"
    try:
        await functions.invoke_later(function, run_event(stored.response_id))
    except NotInvoked as error:
        log("not_started", request_id=stored.response_id, error=str(error))
        try:
            await queued.unstart(shared.streams, stored)
        except MeterUnavailable:
            return  # it ends when nobody has called within a minute


async def tell(carrier: Carrier, head: Head, status: str) -> None:
    """Send the client its response as it stands."""
    kind = encoder_of(head).content_type.encode()
    await carrier.sink.start(200, [(b"content-type", kind)])
    shown = "queued" if status == "queued" else "in_progress"
    await carrier.sink.end(snapshot(head, (), status=shown))  # type: ignore[arg-type] # one of two


def _unavailable() -> Unavailable:
    return Unavailable(
        "The response cannot be stored now, so nothing was generated. Try again, or send the "
        "request without 'background'.",
        code="log_unavailable",
        retry_after=1,
    )


class Process(Protocol):
    """What a run needs of the process that it runs in. A `Carrier` has it."""

    def seconds_left(self) -> float | None:
        """Return the seconds until this process is stopped, None if it is not."""
        ...

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background. It ends before this process is frozen or stopped."""
        ...


class RunCarrier:
    """A queued request, whose response has no client."""

    method = "POST"

    def __init__(self, asked: Asked, caller: Caller, request_id: str, process: Process) -> None:
        """Take a request as it was stored."""
        self._asked = asked
        self._process = process
        self.caller = caller
        self.request_id = request_id
        self.response_headers: Mapping[str, str] = {}

    @property
    def path(self) -> str:
        """The path of the endpoint."""
        return self._asked.path

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that were kept."""
        return self._asked.headers

    @property
    def sink(self) -> Sink:
        """Raise LookupError: there is no client."""
        raise LookupError("a queued response has no client")

    async def body(self, max_bytes: int) -> bytes:
        """Return the body, which was bounded when it came."""
        return self._asked.body.encode()

    def seconds_left(self) -> float | None:
        """Return the seconds until the process is stopped."""
        return self._process.seconds_left()

    async def admitted(self) -> None:
        """Do nothing: the response was claimed, and waits for no other."""

    def running(self, cancel: Callable[[], None]) -> None:
        """Do nothing: a cancel changes the head, which its log watches."""

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background."""
        self._process.in_background(work)


async def run(
    shared: Shared,
    answerer: Answerer,
    response_id: str,
    process: Process,
    known: tuple[StoredHead, Accepted] | None = None,
) -> None:
    """Run a queued response, if it is this call's turn. It raises nothing.

    `known` are its head and its parsed request, if this process has just queued it.
    """
    assert shared.streams is not None  # noqa: S101 (background responses are kept)
    table, run_id, claimed = shared.streams, new_request_id(), None
    try:
        stored = known[0] if known else await read_head(table, response_id, now=time.time())
        if stored is None or stored.status != "queued":
            return
        claimed = await queued.claim(table, stored, run=run_id, by=new_name(), now=time.time())
        if claimed is None:
            return
        await _run(shared, answerer, claimed, process, known[1] if known else None)
    except Exception as error:  # noqa: BLE001 (the boundary: whatever it is, the head must end)
        log("fault", request_id=run_id, response_id=response_id, error=type(error).__name__)
        if claimed is not None and not isinstance(error, MeterError):
            await _fail(table, claimed, internal_error())


async def _run(
    shared: Shared,
    answerer: Answerer,
    claimed: StoredHead,
    process: Process,
    accepted: Accepted | None,
) -> None:
    """Run a response that was claimed. Raises MeterError if StreamTable does not answer."""
    assert shared.streams is not None and claimed.run is not None  # noqa: S101, PT018 (it was claimed)
    table, run_id = shared.streams, claimed.run
    asked = await queued.read_request(table, claimed)
    if asked is None:
        raise Incomplete("a request is missing")
    place = Place(shared, claimed.owner, claimed.response_id)
    log("background_run", request_id=run_id, response_id=claimed.response_id)
    waits = False
    try:
        await place.take_run(run_id)
        caller = await shared.gate.caller_of(claimed.owner, asked.address)
        carrier = RunCarrier(asked, caller, run_id, process)
        accepted = accepted or await answerer.accept(carrier)
        pipeline = Pipeline(shared, carrier, accepted, claimed=claimed)
        await pipeline.run()
        waits = pipeline.waits
    except NoCapacity:
        waits = True
    except APIError as error:
        waits = finds_no_room(error)
        if not waits:
            await _fail(table, claimed, error)
    finally:
        has_ended = not (waits and await queued.wait(table, claimed))
        await place.release_run()
        if has_ended:
            await place.end()


async def _fail(table: Table, claimed: StoredHead, error: APIError) -> None:
    """End a response that failed before its model was called. Raises nothing."""
    ending = Ending(
        status="failed", event=failed_by(error), by=claimed.writer, now=time.time(), counts=(0, 0)
    )
    update = end_update(
        claimed.response_id,
        ending,
        "#status = :was AND writer = :writer",
        {":was": "in_progress", ":writer": claimed.writer},
    )
    try:
        await win(table, update, ending)
    except MeterUnavailable:
        log("result_lost", request_id=claimed.response_id, error="MeterUnavailable")
