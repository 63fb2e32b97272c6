"""What opens and closes sockets, and cancels responses: short events that must not wait.

An environment of a function gets one event at a time. All environments of the function that answers
may be busy with answers, and a new one takes its time to start. So these events have a function of
their own: whoever has opened a socket has just warmed it.

    $connect          authenticates by the key or a ticket, counts the sockets of the key
    response.cancel   cancels a response
    $disconnect       ends the responses that do not go on without their client
    a failure         ends the responses of an invocation that was killed, or never begun
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from lambda_fn import limits
from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import (
    APIError,
    AuthenticationFailed,
    Cancelled,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unavailable,
    UpstreamFailed,
)
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.recall.cancelling import Cancelling
from lambda_fn.recall.stored import Stored, not_found
from lambda_fn.runtime.api import Context
from lambda_fn.settings import Settings
from lambda_fn.socket.core import MESSAGES_BURST, MESSAGES_PER_SECOND
from lambda_fn.socket.gateway.gather import shortened
from lambda_fn.socket.gateway.messages import (
    Begin,
    Closing,
    Failure,
    Message,
    Opening,
    begin_event,
    read,
)
from lambda_fn.socket.gateway.posts import ClientGone, Posts
from lambda_fn.socket.gateway.state import EARLY, Early, State
from lambda_fn.socket.gateway.store import ATTEMPTS, FEW, SPAN, Contended, Gone, Socket, Store
from lambda_fn.socket.lanes import MAX_RUNNING, Running, Waiting
from lambda_fn.socket.messages import Cancel, Create, Invalid, Resume, error_event
from lambda_fn.socket.messages import read as read_message
from lambda_fn.stream.admit import Gate
from lambda_fn.stream_log.keys import UnknownVersion
from lambda_fn.stream_log.tickets import spend_ticket

_LEAST = 3 * EARLY
"""Seconds that the function must have left to wait for another round of early cancels."""
_NO_LOG_YET = 20.0
"""Seconds for which a cancel waits for the log of a response that has begun."""
_LOG_POLL = 0.1
"""Seconds between two looks for it."""
_FLOODS = 1_000
"""Flooded sockets that an environment remembers, the last ones."""
MOST = int(MESSAGES_BURST + SPAN * MESSAGES_PER_SECOND)
"""Messages that a socket may send in a span of time. Each further one is above its rate."""
FLOOD = MOST + MESSAGES_BURST
"""Messages of a span of time that are a flood."""
CLOSERS = 3
"""Messages of a flood that each close the socket. One alone might be lost with its function."""
_TOO_MANY = "This connection sends too many messages."


class Flood(RateLimited):
    """A socket sends so many messages that it is closed."""


class Flooded(Exception):
    """A socket is flooded, and somebody closes it. Its messages change nothing."""


class Control:
    """Answers these events. `answer` is the only entry."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the objects that all events share."""

        def table(name: str) -> Table:
            return Table(
                client,
                url=settings.dynamodb_url,
                region=settings.region,
                name=name,
                credentials=credentials,
            )

        self._now = now
        self._client, self._credentials = client, credentials
        self._usage = table(settings.usage_table)
        self._settings = settings
        self._streams = table(settings.stream_table or "")
        self._gate = Gate(self._usage, meter_open=settings.meter_open)
        self._stored = Stored(self._streams)
        self._cancelling = Cancelling(settings, client, credentials, self._usage, self._stored)
        self._store = Store(self._streams, now=now)
        self._flooded: dict[str, float] = {}
        """The last flooded sockets, each with the last span of time whose messages are dropped.

        A closed one has no last span.

        What they had sent before may be thousands of messages, each with an invocation of its own.
        They are dropped without a call, so that other sockets do not wait for them.
        """
        self._contended: dict[str, float] = {}
        """The last socket whose item was changed all the time, and in which span of time."""
        self._posts = Posts(
            client,
            url=settings.websocket_url.replace("ws", "http", 1),
            region=settings.region,
            credentials=credentials,
        )

    async def answer(self, event: bytes, context: Context) -> Any:
        """Answer an event, and return the result of the invocation, which is JSON.

        Raises:
            InvalidEvent: it is none of a WebSocket API.

        """
        found = read(event)
        if isinstance(found, Opening):
            return await self._connect(found)
        try:
            if isinstance(found, Closing):
                await self._disconnect(found, context)
            elif isinstance(found, Failure):
                await self._failed(found, context)
            elif isinstance(found, Begin):
                await self._go_on(found, context)
            else:
                await self._message(found, context)
        except Gone:
            log("socket_gone", aws_request_id=context.request_id)
        except (MeterUnavailable, Unavailable, UnknownVersion) as error:
            if not isinstance(found, Message):
                raise  # Lambda repeats the event, or tells the control function
            log("fault", aws_request_id=context.request_id, error=type(error).__name__)
            lane = read_message(found.body).stream_id
            await self._tell(found.connection_id, unavailable(), lane)
        return None

    # Opening and closing

    async def _connect(self, opening: Opening) -> dict[str, Any]:
        try:
            caller = await self._authenticate(opening)
            await self._gate.check_key(caller)
            await self._store.admit(caller.key_id, opening.connection_id, self._posts.is_open)
            await self._store.open(opening.connection_id, caller)
        except APIError as error:
            return _response(error)
        except (MeterUnavailable, UnknownVersion):
            return _response(unavailable())
        chosen = opening.protocol
        headers = {} if chosen is None else {"Sec-WebSocket-Protocol": chosen}
        return {"statusCode": 200, "headers": headers}

    async def _authenticate(self, opening: Opening) -> Caller:
        if opening.ticket is None:
            # The address is that of the connection: no distribution stands before the API.
            headers = {**opening.headers, "x-forwarded-for": ""}
            return read_key(headers, (opening.address, 0))
        caller = await spend_ticket(
            self._streams, opening.ticket, address=opening.address, now=self._now()
        )
        if caller is None:
            raise AuthenticationFailed(
                "The ticket is not valid: each opens one socket, within 30 seconds. Ask for "
                "another by POST /v1/websocket/tickets."
            )
        return caller

    async def _disconnect(self, closing: Closing, context: Context) -> None:
        socket = await self._store.find(closing.connection_id)
        # Their texts go first. If this function is killed, the event comes again, and finds them.
        waiting = socket.state.lanes.names_waiting()
        await self._forget(closing.connection_id, waiting)
        names, dropped = await self._store.change(closing.connection_id, State.leave)
        await self._store.leave(socket.caller.key_id, closing.connection_id)
        since = [name for name in dropped if name not in waiting]
        await self._forget(closing.connection_id, since)
        stops = [self._stop(name, socket) for name in names]
        for failed in await asyncio.gather(*stops, return_exceptions=True):
            if failed is not None:
                raise failed  # Lambda brings the event again

    # Messages

    async def _message(self, message: Message, context: Context) -> None:
        if message.sent // SPAN <= self._flooded.get(message.connection_id, -math.inf):
            return
        asked = read_message(message.body)
        stream_id = asked.stream_id
        try:
            if self._now() - message.sent > limits.MESSAGE_AGE:
                raise _too_old()
            socket, attempts = await self._found(message)
            if isinstance(asked, Invalid):
                await self._count(message, socket, attempts)
                raise asked.error
            if isinstance(asked, Cancel):
                await self._cancel(message, asked, socket, attempts, context)
            else:
                await self._begin(message, asked, socket, attempts, context)
        except Flooded:
            self._drop(message.connection_id, message.sent // SPAN)
        except Flood:
            self._drop(message.connection_id, message.sent // SPAN)
            await self._close_flooded(message.connection_id)
        except Contended:
            # Until this span of time is over, its messages are only counted here. So a flood is
            # seen, even if the table is slow.
            self._contended = {message.connection_id: message.sent // SPAN}
            await self._tell(message.connection_id, too_many(), stream_id)
        except APIError as error:
            await self._tell(message.connection_id, error, stream_id)

    async def _found(self, message: Message) -> tuple[Socket, int]:
        """Return the socket of a message, and how often to attempt a change of it.

        Messages are counted before anything is done for them, each by one call that never waits for
        another. All other changes of a socket do: many messages at once would keep every
        environment busy with each other.

        Raises:
            Flood: so many came in a short time that the socket is closed. A few messages get it.
            Flooded: the socket is flooded, or more came than that.
            RateLimited: too many came in a short time.
            Gone, UnknownVersion: as `Store.find`.

        """
        socket, count = await asyncio.gather(
            self._store.find(message.connection_id),
            self._store.count(message.connection_id, message.sent),
        )
        if socket.state.flooded:
            self._drop(message.connection_id)
        if socket.state.flooded or count >= FLOOD + CLOSERS:
            raise Flooded
        if count >= FLOOD:
            raise Flood(_TOO_MANY)
        if count > MOST:
            raise too_many()
        if count <= MAX_RUNNING:
            return socket, ATTEMPTS
        if self._contended.get(message.connection_id) == message.sent // SPAN:
            raise too_many()
        return socket, FEW

    def _drop(self, connection_id: str, until: float = math.inf) -> None:
        """Drop what a socket sends until a span of time is over. A closed one sends nothing new."""
        self._flooded[connection_id] = max(until, self._flooded.get(connection_id, until))
        if len(self._flooded) > _FLOODS:
            del self._flooded[next(iter(self._flooded))]

    async def _close_flooded(self, connection_id: str) -> None:
        """Close a socket at once, so that API Gateway takes no more, and hold its place.

        If that fails, the socket serves after this span of time, and its next flood closes it.
        """
        if not await self._posts.close(connection_id):
            return
        socket = await self._store.find(connection_id)
        await self._store.leave(socket.caller.key_id, connection_id, held=True)
        await self._store.change(connection_id, State.flood)
        self._drop(connection_id)

    async def _count(self, message: Message, socket: Socket, attempts: int) -> None:
        """Count a message that changes nothing. Raises RateLimited."""
        refused, _ = await self._store.changed(
            message.connection_id,
            lambda state: counting(message.sent, state),
            read=socket,
            attempts=attempts,
        )
        if refused is not None:
            raise refused

    async def _begin(
        self,
        message: Message,
        asked: Create | Resume,
        socket: Socket,
        attempts: int,
        context: Context,
    ) -> None:
        """Answer a request. Raises as `_message`."""
        # API Gateway has read another type than is read here: it stands in the message twice.
        raise InvalidRequest(
            "The message has more than one 'type'. Send it with one.",
            param="type",
            code="invalid_message",
        )

    async def _go_on(self, begin: Begin, context: Context) -> None:
        """Answer requests whose turn has come. Only the function that answers gets them."""
        raise NotImplementedError

    # Failures of the function that answers

    async def _failed(self, failure: Failure, context: Context) -> None:
        """End what an invocation has left, with the last event for the client of each response.

        Then the next requests of these lanes begin, in another invocation.
        """
        event, by = failure.event, failure.invocation
        if event is None or isinstance(event, Closing):
            log("socket_failure", aws_request_id=by)
            return
        connection_id = event.connection_id
        if failure.is_too_old and self._flooded.get(connection_id) == math.inf:
            return
        socket = await self._store.find(connection_id)
        state = socket.state
        if failure.is_too_old and state.flooded:
            # A flood leaves thousands of them. What waited is gone with the socket.
            self._drop(connection_id)
            return
        dead = state.answered_by(by)
        error = _too_old() if failure.is_too_old else None
        if isinstance(event, Begin):
            # What it did not even take has no log, and nobody else answers it.
            dead += [name for name in event.names if name in state.answered_by("")]
        elif not state.has(event.name) and event.name not in state.recent:
            asked = read_message(event.body)
            await self._forget(connection_id, [event.name])
            await self._tell(connection_id, error or interrupted(event.name), asked.stream_id)
        log("socket_reaped", aws_request_id=by, responses=len(dead))
        await asyncio.gather(*(self._finish(socket, name, context, error) for name in dead))

        def end(state: State) -> list[str]:
            for name in dead:
                state.ended(name, self._now())
            return state.answered_by("")

        await self._hand_over(connection_id, await self._store.change(connection_id, end))

    async def _finish(
        self, socket: Socket, name: str, context: Context, error: APIError | None = None
    ) -> None:
        """End a response whose function has died, and send its last event to the client.

        Whoever read the response before may get that event twice, with the same `sequence_number`.
        `error` is the reason if the response has not begun.
        """
        from lambda_fn.socket.gateway.last import last_event  # few functions die

        connection_id, lane = socket.connection_id, socket.state.lane_of(name)
        await self._forget(connection_id, [name])
        response = socket.state.response_of(name)
        last: bytes | None = None
        try:
            head = await self._stored.end(response, socket.caller.key_id)
            if head is not None:
                seconds = context.remaining()
                last = await last_event(self._streams, head, lane, seconds, self._settings)
        except APIError as failed:
            log("fault", request_id=name, error=type(failed).__name__)
        if last is None:
            await self._tell(connection_id, error or interrupted(response), lane)
            return
        with contextlib.suppress(ClientGone):
            await self._posts.post(connection_id, shortened(last))

    async def _hand_over(self, connection_id: str, names: list[str]) -> None:
        """Invoke the function that answers for the requests whose turn has come."""
        from lambda_fn.aws.functions import Functions, NotInvoked  # few functions die

        functions = Functions(
            self._client,
            url=self._settings.lambda_url,
            region=self._settings.region,
            credentials=self._credentials,
        )
        while names:
            try:
                event = begin_event(connection_id, names)
                await functions.invoke_later(self._settings.socket_function, event)
            except NotInvoked as error:
                log("fault", error=f"Invoke: {error}")
                refused, names = names, []
                for name in refused:
                    names += await self._refuse(connection_id, name)
            else:
                return

    async def _refuse(self, connection_id: str, name: str) -> list[str]:
        """Send the error of a request. Return the names of those that begin now."""
        state = (await self._store.find(connection_id)).state
        await self._forget(connection_id, [name])
        await self._tell(connection_id, unavailable(), state.lane_of(name))

        def end(state: State) -> list[str]:
            state.ended(name, self._now())
            return state.answered_by("")

        return await self._store.change(connection_id, end)

    # Cancelling

    async def _cancel(
        self, message: Message, asked: Cancel, socket: Socket, attempts: int, context: Context
    ) -> None:
        def decide(state: State) -> Running | Waiting | Early | APIError | None:
            if (refused := counting(message.sent, state)) is not None:
                return refused
            return state.cancel(asked, message.name, sent=message.sent, now=self._now())

        found, socket = await self._store.changed(
            message.connection_id, decide, read=socket, attempts=attempts
        )
        if isinstance(found, APIError):
            raise found
        if isinstance(found, Running):
            if not found.cancelled:
                await self._stop(found.name, socket)
        elif isinstance(found, Waiting):
            await self._forget(message.connection_id, [found.name])
            raise Cancelled("The request was cancelled before its response began.")
        elif found is None:
            await self._see_to_early(message.connection_id, context)

    async def _see_to_early(self, connection_id: str, context: Context) -> None:
        """Send an error for each cancel that no create follows. Return when no cancel waits."""
        came: float | None = self._now()
        while came is not None:
            await asyncio.sleep(max(0.0, came + EARLY - self._now()))
            # Without time for another round, those that came since do not wait so long.
            since = self._now() - (EARLY if context.remaining() > _LEAST else 0.0)
            over, came = await self._store.change(
                connection_id,
                lambda state, since=since: state.found_nothing(since),  # type: ignore[misc]
            )
            for early in over:
                await self._tell(connection_id, _nothing_runs(early), early.stream_id)

    async def _stop(self, name: str, socket: Socket) -> None:
        """Cancel a response that runs.

        One that was begun a moment ago has no log yet, by which it could be cancelled. One whose
        model had no capacity goes on with a fallback, as another response.
        """
        key_id, state, deadline = socket.caller.key_id, socket.state, self._now() + _NO_LOG_YET
        while True:
            head = await self._stored.look(state.response_of(name), key_id)
            if head is not None and (not head.is_final or head.status == "cancelled"):
                break
            if name not in state.runs or self._now() > deadline:
                return
            await asyncio.sleep(_LOG_POLL)
            state = (await self._store.find(socket.connection_id)).state
        after: list[asyncio.Future[Any]] = []
        try:
            await self._cancelling.cancel(head.response_id, key_id, {"aws.after": after})
        except NotFound:  # it was deleted meanwhile
            return
        finally:
            if after:
                await asyncio.wait(after)

    async def _forget(self, connection_id: str, names: Iterable[str]) -> None:
        """Remove the content of messages that nobody reads any more.

        A message for which this fails stays until it expires, or until its key is erased.
        """
        for name in names:
            try:
                await self._store.forget(connection_id, name)
            except MeterUnavailable as error:
                log("fault", request_id=name, error=type(error).__name__)

    async def _tell(self, connection_id: str, error: APIError, stream_id: str | None) -> None:
        """Send an error event. A client that has left does not need it."""
        try:
            await self._posts.post(connection_id, error_event(error, stream_id))
        except ClientGone:
            return


def counting(sent: float, state: State) -> RateLimited | None:
    """Count a message of a socket. Return the error for one that is too many.

    It is a Flood if there are so many that the socket is closed.

    Raises:
        Flooded: it is being closed. Messages that still come are read, and change nothing.

    """
    if state.flooded:
        raise Flooded
    left = state.rate.take(sent)
    if left < -MESSAGES_BURST:
        return Flood(_TOO_MANY)
    return too_many() if left < 0 else None


def too_many() -> RateLimited:
    """Return the error for a message above the rate, which leaves the socket open."""
    return RateLimited(
        f"This connection sends more than {MESSAGES_PER_SECOND:.0f} messages a second. This one "
        "was not read: send it again later.",
        code="websocket_message_limit_reached",
        retry_after=1,
    )


def _response(error: APIError) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return {"statusCode": error.status, "headers": headers, "body": error.body().decode()}


def unavailable() -> Unavailable:
    return Unavailable("The table of sockets does not answer. Try again.", retry_after=5)


def interrupted(name: str) -> APIError:
    """Return the error for a request whose function was killed."""
    return UpstreamFailed(
        "The function that answered this request was stopped. Read what it had sampled by "
        f"GET /v1/responses/resp_{name}.",
        code="interrupted",
    )


def _too_old() -> Unavailable:
    return Unavailable(
        f"The message waited for more than {limits.MESSAGE_AGE:.0f} seconds, because no function "
        "was free. It was not read. Send it again later.",
        code="server_overloaded",
        retry_after=10,
    )


def _nothing_runs(early: Early) -> NotFound:
    if early.response_id is not None:
        return not_found(early.response_id)
    return NotFound(
        "No response is running in this lane, so nothing was cancelled.",
        param="stream_id",
        code="response_not_found",
    )
