"""What the socket function does with the messages of sockets: it answers requests.

A message that makes a response is stored first, under the name of the response. If the message
comes again, it is found there, and nothing happens. The function that ends a response begins the
next one of its lane. If that function was killed, Lambda tells the control function (`control`). If
that did not happen, the next message that waits for its response finds this out.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import (
    APIError,
    Cancelled,
    InvalidRequest,
    Unavailable,
    UpstreamFailed,
    internal_error,
)
from lambda_fn.event_log import Unended
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.log import log
from lambda_fn.runtime.api import Context
from lambda_fn.schema import Rules
from lambda_fn.settings import Settings
from lambda_fn.socket.gateway.control import Control, Flooded, counting, unavailable
from lambda_fn.socket.gateway.lane import LaneCarrier, LaneSink, Wish, read_create
from lambda_fn.socket.gateway.messages import Begin, Message
from lambda_fn.socket.gateway.posts import ClientGone, Outbox
from lambda_fn.socket.gateway.state import State
from lambda_fn.socket.gateway.store import Contended, Frame, Gone, Socket
from lambda_fn.socket.messages import Cancel, Create, Invalid, Resume
from lambda_fn.socket.messages import read as read_message
from lambda_fn.stream.completions import Completions
from lambda_fn.stream.pipeline import share
from lambda_fn.stream.rate_limit_errors import no_model
from lambda_fn.stream.request_count import count_request
from lambda_fn.stream.resume import resume
from lambda_fn.stream.sinks import ResponseBroken
from lambda_fn.stream_log.keys import UnknownVersion, response_id

_DEAD_AFTER = 10.0
"""Seconds after its end in which a response's own function begins the next one of its lane."""
_UNBEGUN = 60.0
"""Seconds after which a response without a log will never have one."""
_PATIENCE, _LONGEST_PAUSE = 120.0, 10.0
"""Seconds in which a function notes that a response has ended, and between two attempts at most."""
_LEAST = 30.0
"""Seconds that a function must have left to begin another response."""


class Unsaved(Exception):
    """The table does not answer, so it could not be noted what has happened.

    The invocation fails by it. Lambda tells the control function, which brings the lane on.
    """


class Gateway(Control):
    """Answers all events. `answer` is the only entry."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the objects that all events share."""
        super().__init__(settings, client, credentials, now=now)
        rules = Rules(strict=settings.strict, loose_tool_history=settings.loose_tool_history)
        self._completions = Completions(
            share(settings, client, credentials, self._usage, self._gate),
            partial(read_create, rules=rules, store_default=settings.store_default),
        )
        self._running: dict[str, LaneCarrier] = {}
        """The requests that this environment answers."""

    async def _begin(
        self,
        message: Message,
        asked: Create | Resume,
        socket: Socket,
        attempts: int,
        context: Context,
    ) -> None:
        """Take a request, and answer it when its lane is free. Raises as `Control._message`."""
        frame = Frame(message.name, message.body, message.sent)
        if not await self._store.claim(socket, frame):
            return  # it came before
        by = context.request_id
        settings = self._settings
        stays = settings.persistence == "all"
        if isinstance(asked, Create):
            wish = Wish.of(asked.body)
            store = settings.store_default if wish.store is None else wish.store
            stays = stays or store or wish.is_durable

        def decide(state: State) -> list[str] | APIError:
            is_taken = state.has(message.name)  # by an attempt whose answer was lost
            if not is_taken and (refused := counting(message.sent, state)) is not None:
                return refused
            try:
                state.create(
                    message.name,
                    asked.stream_id,
                    sent=message.sent,
                    now=self._now(),
                    stays=stays,
                    by=by,
                )
            except APIError as error:
                return error
            return state.answered_by(by)

        def drop(state: State) -> list[str]:
            state.drop(message.name, self._now(), by=by)
            return state.answered_by(by)

        try:
            decided, socket = await self._store.changed(
                socket.connection_id, decide, read=socket, attempts=attempts
            )
        except (Flooded, Gone, UnknownVersion):
            await self._forget(socket.connection_id, [message.name])
            raise
        except MeterUnavailable as error:
            may_be_taken = True
            if isinstance(error, Contended):
                with contextlib.suppress(MeterUnavailable, Gone, UnknownVersion):
                    found = await self._store.find(socket.connection_id)
                    may_be_taken = found.state.has(message.name)
            if not may_be_taken:
                # Its client sends many messages at once. Waiting for them would stop others.
                await self._forget(socket.connection_id, [message.name])
                raise
            log("fault", request_id=message.name, error=type(error).__name__)
            await self._tell(socket.connection_id, unavailable(), asked.stream_id)
            try:  # its lane must not wait for it
                names, socket = await self._patiently(socket.connection_id, drop, context)
            finally:
                await self._forget(socket.connection_id, [message.name])
            await self._run(socket, names, context)
            return
        if isinstance(decided, APIError):
            await self._forget(message.connection_id, [message.name])
            raise decided
        if message.name not in decided:
            decided, socket = await self._reap(socket, context)
        await self._run(socket, decided, context, frame)

    async def _go_on(self, begin: Begin, context: Context) -> None:
        def take(state: State) -> list[str]:
            state.take(begin.names, context.request_id)
            return state.answered_by(context.request_id)

        taken, socket = await self._store.changed(begin.connection_id, take)
        await self._run(socket, taken, context)

    async def _run(
        self, socket: Socket, names: list[str], context: Context, own: Frame | None = None
    ) -> None:
        """Answer requests, and those that begin when they end. `own` is a message at hand.

        What one of them raises is raised when the others have ended, because Lambda stops a
        function whose invocation is over.

        Raises:
            Unsaved: it could not be written that a response has ended.

        """
        begun: set[str] = set()
        failed: list[Exception] = []
        running: set[asyncio.Task[tuple[list[str], Socket]]] = set()
        while names or running:
            for name in names:
                begun.add(name)
                frame = own if own is not None and own.name == name else None
                running.add(asyncio.create_task(self._one(socket, name, frame, context)))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            names = []
            for task in done:
                try:
                    found, after = task.result()
                except Exception as error:  # noqa: BLE001 (the first one is raised below)
                    failed.append(error)
                    continue
                socket = max(socket, after, key=lambda one: int(one.item["n"]))
                names += [name for name in found if name not in begun and name not in names]
        if failed:
            try:
                raise failed[0]
            finally:  # the error refers to this frame: break the cycle
                failed.clear()
                done.clear()
                del task

    async def _patiently(
        self, connection_id: str, decide: Callable[[State], list[str]], context: Context
    ) -> tuple[list[str], Socket]:
        """Change the state of a socket, as long as this function can wait for the table.

        What it notes is already so, and the lane goes on only when it is noted.

        Raises:
            Gone, UnknownVersion: as `Store.change`.
            Unsaved: the table does not answer.

        """
        pause, ends = limits.META_BACKOFF, self._now() + _PATIENCE
        while True:
            try:
                return await self._store.changed(connection_id, decide)
            except MeterUnavailable as error:
                log("fault", aws_request_id=context.request_id, error=type(error).__name__)
                if context.remaining() < _LEAST or self._now() > ends:
                    raise Unsaved from None
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _one(
        self, socket: Socket, name: str, frame: Frame | None, context: Context
    ) -> tuple[list[str], Socket]:
        """Answer a request. Return the names of those that this invocation answers now, of which
        some may have begun before, and the socket as it is then.
        """
        connection_id, parent, completed = socket.connection_id, None, False
        forgetting: asyncio.Task[None] | None = None
        lane = socket.state.lane_of(name)
        try:
            frame = frame or await self._store.frame(connection_id, name)
            # Nobody needs it in the table any more. The first token does not wait for this.
            forgetting = asyncio.create_task(self._forget(connection_id, [name]))
            asked = Invalid(internal_error()) if frame is None else read_message(frame.body)
            lane = lane if frame is None else asked.stream_id
            if isinstance(asked, Create):
                previous = Wish.of(asked.body).previous_response_id
                parent = None if previous is None else response_id(previous)
            completed = await self._answer(socket, name, asked, context)
        except (MeterUnavailable, UnknownVersion) as error:
            log("fault", request_id=name, error=type(error).__name__)
            await self._tell(connection_id, unavailable(), lane)
        finally:
            if forgetting is not None:
                await forgetting

        def end(state: State) -> list[str]:
            by = context.request_id
            state.ended(name, self._now(), completed=completed, parent=parent, by=by)
            return state.answered_by(by)

        return await self._patiently(connection_id, end, context)

    async def _answer(
        self, socket: Socket, name: str, asked: Create | Cancel | Resume | Invalid, context: Context
    ) -> bool:
        """Answer a request. Return whether its response was completed, as far as is known here."""
        connection_id, outbox = socket.connection_id, Outbox(self._posts, socket.connection_id)
        try:
            if context.remaining() < _LEAST:
                raise _no_time()
            if isinstance(asked, Create):
                answered = await self._create(socket, name, asked, outbox, context)
                await outbox.drain()
                return answered
            if isinstance(asked, Resume):
                await self._resume(socket, asked, outbox, context)
                await outbox.drain()
            elif isinstance(asked, Invalid):
                raise asked.error
        except ClientGone:
            log("socket_gone", request_id=name)
        except Exception as found:  # noqa: BLE001 (the boundary: the lane goes on)
            # What the client has so far comes before the error.
            await outbox.finish()
            await self._tell(connection_id, _public(found, name), asked.stream_id)
        return False

    async def _create(
        self, socket: Socket, name: str, asked: Create, outbox: Outbox, context: Context
    ) -> bool:
        state = socket.state
        if state.cancelled(name):
            raise Cancelled("The request was cancelled before its response began.")
        await self._check_parent(socket, state, asked)
        stays = name in state.runs and state.runs[name].stays
        carrier: LaneCarrier

        def left() -> None:
            if not stays:
                carrier.cancel()

        sink = LaneSink(outbox, asked.stream_id, left)

        async def renamed(response: str) -> None:
            # A fallback of the model has a response of its own, which a cancel has to find.
            if await self._store.change(
                socket.connection_id, lambda state: state.renamed(name, response)
            ):
                carrier.cancel()

        carrier = LaneCarrier(name, socket.caller, asked.body, sink, context.remaining, renamed)
        if not asked.generate:
            await self._warm_up(carrier)
            return True
        self._running[name] = carrier
        if state.gone:
            left()
        is_broken = False
        try:
            await self._completions.answer(carrier)
        except (ResponseBroken, Unended) as error:
            log("socket_broken", request_id=name, error=str(error))
            is_broken = True
        finally:
            del self._running[name]
            await carrier.finish()
        if not is_broken:
            return sink.is_answered
        # A client of HTTP would ask for the rest. The connection of this one is still there.
        head = await self._stored.find(carrier.request_id, socket.caller.key_id)
        rest = LaneSink(outbox, asked.stream_id, left)
        await resume(
            *(self._streams, head, sink.last, rest),
            seconds=context.remaining(),
            settings=self._settings,
            request_id=name,
        )
        return rest.is_answered

    async def _warm_up(self, carrier: LaneCarrier) -> None:
        """Check a request and keep its items, without a call of the model.

        It counts in the key's requests per minute, and not in its tokens. The response has no
        output, and is kept as one that was generated.

        Raises:
            APIError: the request cannot be answered.

        """
        from lambda_fn.socket.warm_up import keep, whole  # few requests ask for it

        await self._gate.authenticate(carrier.caller)
        account = await self._gate.check_key(carrier.caller)
        accepted = await self._completions.accept(carrier)
        read, now = accepted.read, self._now()
        if not account.may_use(read.request.model):
            raise no_model(read.request.model)
        await count_request(self._usage, account, now)
        head = read.head(
            response_id=carrier.request_id,
            created=int(now),
            fingerprint=None,
            max_bytes=self._settings.max_whole,
            logged=True,
        )
        days = self._settings.response_days
        await keep(self._streams, head, accepted.model, read, carrier.caller.key_id, days, now)
        await carrier.sink.end(whole(head, int(now)))

    async def _check_parent(self, socket: Socket, state: State, asked: Create) -> None:
        """Check that a request may go on from the response that it names.

        A response that is not stored can be continued on its own connection only, while it is the
        last of a lane.

        Raises:
            InvalidRequest: it may not.

        """
        previous = Wish.of(asked.body).previous_response_id
        if previous is None or response_id(previous) in state.latest.values():
            return
        head = await self._stored.look(previous, socket.caller.key_id)
        if head is not None and head.expires - head.created <= limits.SOCKET_CACHE:
            raise InvalidRequest(
                f"Previous response with id '{previous[:80]}' not found: it is not stored, and is "
                "not the last one of a lane of this connection.",
                param="previous_response_id",
                code="previous_response_not_found",
            )

    async def _resume(
        self, socket: Socket, asked: Resume, outbox: Outbox, context: Context
    ) -> None:
        account = await self._gate.check_key(socket.caller)
        await count_request(self._usage, account, self._now())
        head = await self._stored.find(asked.response_id, socket.caller.key_id)
        if head.head.form != "responses_stream":
            raise InvalidRequest(
                "This response has no events of the Responses API. Read it by GET "
                "/v1/sluice/streams/{id}.",
                param="response_id",
                code="not_streamable",
            )
        sink = LaneSink(outbox, asked.stream_id, lambda: None)
        await resume(
            *(self._streams, head, asked.starting_after, sink),
            seconds=context.remaining(),
            settings=self._settings,
            request_id=new_request_id(),
        )

    async def _stop(self, name: str, socket: Socket) -> None:
        """Cancel a response that runs, here or elsewhere."""
        if (carrier := self._running.get(name)) is not None:
            carrier.cancel()
            return
        await super()._stop(name, socket)

    async def _reap(self, socket: Socket, context: Context) -> tuple[list[str], Socket]:
        """End the runs whose functions were killed. Return the names of those that begin now, and
        the socket as it is then.
        """
        connection_id, by = socket.connection_id, context.request_id
        now, begin, after = self._now(), list[str](), socket
        for name, run in socket.state.runs.items():
            if not run.began or name in self._running or now - run.began < _DEAD_AFTER:
                continue
            response = socket.state.response_of(name)
            try:
                head = await self._stored.look(response, socket.caller.key_id)
            except Unavailable:
                break  # the next message that waits looks again
            if head is None:
                is_dead = now - run.began > _UNBEGUN
            else:
                is_dead = head.is_final and now - (head.ended or now) > _DEAD_AFTER
            if is_dead:
                log("socket_reaped", request_id=name)
                await self._finish(socket, name, context)

                def end(state: State, name: str = name) -> list[str]:
                    state.ended(name, now, by=by)
                    return state.answered_by(by)

                begin, after = await self._patiently(connection_id, end, context)
        return begin, after


def _no_time() -> Unavailable:
    return Unavailable(
        "The request waited for its lane until its function had no time left. Send it again.",
        code="server_overloaded",
        retry_after=1,
    )


def _public(error: Exception, name: str) -> APIError:
    """Return the error for what ended a response."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, ResponseBroken | Unended):
        log("socket_broken", request_id=name, error=str(error))
        return UpstreamFailed(
            "This connection was too slow, so the response goes on without it. Read the rest by "
            "'response.resume'.",
            code="interrupted",
        )
    log("fault", request_id=name, error=type(error).__name__)
    return internal_error()
