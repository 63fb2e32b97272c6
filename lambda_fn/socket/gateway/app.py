"""What the socket function does for each event of the WebSocket API.

    $connect      authenticates by the key or a ticket, counts the sockets of the key
    $default      one message: answers a request, cancels one, or resumes a response
    $disconnect   ends the responses that do not go on without their client

A message that makes a response is stored first, under the name of the response. If the message
comes again, it is found there, and nothing happens. The function that ends a response begins the
next one of its lane. If that function was killed, the next message that waits for its response
finds this out.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
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
    internal_error,
)
from lambda_fn.event_log import Unended
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.log import log
from lambda_fn.recall.cancelling import Cancelling
from lambda_fn.recall.stored import Stored, not_found
from lambda_fn.runtime.api import Context
from lambda_fn.schema import Rules
from lambda_fn.settings import Settings
from lambda_fn.socket.core import MESSAGES_BURST, MESSAGES_PER_SECOND
from lambda_fn.socket.gateway.lane import LaneCarrier, LaneSink, Wish, read_create
from lambda_fn.socket.gateway.messages import Closing, Message, Opening, read
from lambda_fn.socket.gateway.posts import ClientGone, Outbox, Posts
from lambda_fn.socket.gateway.state import EARLY, Early, State
from lambda_fn.socket.gateway.store import Frame, Gone, Socket, Store
from lambda_fn.socket.lanes import Running, Waiting
from lambda_fn.socket.messages import Cancel, Create, Invalid, Resume, error_event
from lambda_fn.socket.messages import read as read_message
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.completions import Completions
from lambda_fn.stream.request_count import count_request
from lambda_fn.stream.resume import resume
from lambda_fn.stream.sinks import ResponseBroken
from lambda_fn.stream_log.keys import UnknownVersion, response_id
from lambda_fn.stream_log.tickets import spend_ticket

_DEAD_AFTER = 10.0
"""Seconds after its end in which a response's own function begins the next one of its lane."""
_UNBEGUN = 60.0
"""Seconds after which a response without a log will never have one."""
_NO_LOG_YET = 20.0
"""Seconds for which a cancel waits for the log of a response that has begun."""
_LEAST = 30.0
"""Seconds that a function must have left to begin another response."""


class Flood(RateLimited):
    """A socket sends so many messages that it is closed."""


class Gateway:
    """Answers the events. `answer` is the only entry."""

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

        usage = table(settings.usage_table)
        self._now = now
        self._usage = usage
        self._settings = settings
        self._streams = table(settings.stream_table or "")
        self._gate = Gate(usage, meter_open=settings.meter_open)
        self._stored = Stored(self._streams)
        self._cancelling = Cancelling(settings, client, credentials, usage, self._stored)
        self._store = Store(self._streams, now=now)
        self._posts = Posts(
            client,
            url=settings.websocket_url.replace("ws", "http", 1),
            region=settings.region,
            credentials=credentials,
        )
        rules = Rules(strict=settings.strict, loose_tool_history=settings.loose_tool_history)
        self._completions = Completions(
            *(settings, client, credentials, usage, self._gate),
            partial(read_create, rules=rules, store_default=settings.store_default),
        )
        self._running: dict[str, LaneCarrier] = {}
        """The requests that this environment answers."""

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
            else:
                await self._message(found, context)
        except Gone:
            log("socket_gone", aws_request_id=context.request_id)
        except (MeterUnavailable, UnknownVersion) as error:
            log("fault", aws_request_id=context.request_id, error=type(error).__name__)
            if isinstance(found, Message):
                await self._tell(found.connection_id, _unavailable(), None)
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
            return _response(_unavailable())
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
        names = await self._store.change(closing.connection_id, State.leave)
        await self._store.leave(socket.caller.key_id, closing.connection_id)
        for name in names:
            await self._stop(name, socket)

    # Messages

    async def _message(self, message: Message, context: Context) -> None:
        asked = read_message(message.body)
        stream_id = asked.stream_id
        try:
            if self._now() - message.sent > limits.MESSAGE_AGE:
                raise _too_old()
            if isinstance(asked, Invalid):
                await self._count(message)
                raise asked.error
            if isinstance(asked, Cancel):
                await self._cancel(message, asked, context)
            else:
                await self._request(message, asked, context)
        except Flood:
            await self._posts.close(message.connection_id)
        except APIError as error:
            await self._tell(message.connection_id, error, stream_id)

    async def _count(self, message: Message) -> None:
        """Count a message that changes nothing. Raises RateLimited."""
        refused = await self._store.change(
            message.connection_id, lambda state: _counting(message.sent, state)
        )
        if refused is not None:
            raise refused

    async def _request(self, message: Message, asked: Create | Resume, context: Context) -> None:
        frame = Frame(message.name, message.body, message.sent)
        if not await self._store.claim(message.connection_id, frame):
            return  # it came before
        settings = self._settings
        stays = settings.persistence == "all"
        if isinstance(asked, Create):
            store = Wish.of(asked.body).store
            stays = stays or (settings.store_default if store is None else store)

        def decide(state: State) -> list[str] | APIError:
            if (refused := _counting(message.sent, state)) is not None:
                return refused
            try:
                return state.create(
                    message.name, asked.stream_id, sent=message.sent, now=self._now(), stays=stays
                )
            except APIError as error:
                return error

        decided = await self._store.change(message.connection_id, decide)
        if isinstance(decided, APIError):
            raise decided
        if message.name not in decided:
            decided += await self._reap(message.connection_id)
        await self._run(message.connection_id, decided, context, frame)

    async def _run(
        self, connection_id: str, names: list[str], context: Context, own: Frame | None = None
    ) -> None:
        """Answer requests, and those that begin when they end. `own` is a message at hand."""
        socket = await self._store.find(connection_id) if names else None
        running: set[asyncio.Task[list[str]]] = set()
        while names or running:
            assert socket is not None  # noqa: S101 (there are names)
            for name in names:
                frame = own if own is not None and own.name == name else None
                running.add(asyncio.create_task(self._one(socket, name, frame, context)))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            names = [name for task in done for name in task.result()]

    async def _one(
        self, socket: Socket, name: str, frame: Frame | None, context: Context
    ) -> list[str]:
        """Answer a request, and return the names of those that begin now."""
        connection_id, parent, completed = socket.connection_id, None, False
        try:
            frame = frame or await self._store.frame(connection_id, name)
            asked = Invalid(internal_error()) if frame is None else read_message(frame.body)
            if isinstance(asked, Create):
                previous = Wish.of(asked.body).previous_response_id
                parent = None if previous is None else response_id(previous)
            completed = await self._answer(socket, name, asked, context)
        except (MeterUnavailable, UnknownVersion) as error:
            log("fault", request_id=name, error=type(error).__name__)
            await self._tell(connection_id, _unavailable(), None)
        return await self._store.change(
            connection_id,
            lambda state: state.ended(name, self._now(), completed=completed, parent=parent),
        )

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
        if not asked.generate:
            raise InvalidRequest(
                "Unsupported value: 'generate' is false: this socket keeps nothing between its "
                "messages but what is logged. Send the items with the first request.",
                param="generate",
                code="unsupported_value",
            )
        state = (await self._store.find(socket.connection_id)).state
        if state.cancelled(name):
            raise Cancelled("The request was cancelled before its response began.")
        await self._check_parent(socket, state, asked)
        stays = name in state.runs and state.runs[name].stays
        carrier: LaneCarrier

        def left() -> None:
            if not stays:
                carrier.cancel()

        sink = LaneSink(outbox, asked.stream_id, left)
        carrier = LaneCarrier(name, socket.caller, asked.body, sink, context.remaining)
        self._running[name] = carrier
        if state.gone:
            left()
        try:
            await self._completions.answer(carrier)
        finally:
            del self._running[name]
            await carrier.finish()
        return sink.is_answered

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

    # Cancelling

    async def _cancel(self, message: Message, asked: Cancel, context: Context) -> None:
        def decide(state: State) -> Running | Waiting | Early | APIError | None:
            if (refused := _counting(message.sent, state)) is not None:
                return refused
            return state.cancel(asked, message.name, sent=message.sent, now=self._now())

        found = await self._store.change(message.connection_id, decide)
        if isinstance(found, APIError):
            raise found
        if isinstance(found, Running):
            if not found.cancelled:
                await self._stop(found.name, await self._store.find(message.connection_id))
        elif isinstance(found, Waiting):
            raise Cancelled("The request was cancelled before its response began.")
        elif found is None:
            await self._see_to_early(message.connection_id, context)

    async def _see_to_early(self, connection_id: str, context: Context) -> None:
        """Tell the client of cancels for which no create comes, until none waits any more."""
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
        """Cancel a response that runs, here or elsewhere.

        One that was begun a moment ago has no log yet, by which it could be cancelled.
        """
        if (carrier := self._running.get(name)) is not None:
            carrier.cancel()
            return
        key_id, deadline = socket.caller.key_id, self._now() + _NO_LOG_YET
        while await self._stored.look(name, key_id) is None:
            state = (await self._store.find(socket.connection_id)).state
            if name not in state.runs or self._now() > deadline:
                return
            await asyncio.sleep(limits.LOG_POLL)
        after: list[asyncio.Future[Any]] = []
        try:
            await self._cancelling.cancel(name, key_id, {"aws.after": after})
        except NotFound:  # it was deleted meanwhile
            return
        finally:
            if after:
                await asyncio.wait(after)

    async def _reap(self, connection_id: str) -> list[str]:
        """End the runs whose functions were killed. Return the names of those that begin now."""
        socket = await self._store.find(connection_id)
        now, begin = self._now(), list[str]()
        for name, run in socket.state.runs.items():
            if not run.began or name in self._running or now - run.began < _DEAD_AFTER:
                continue
            head = await self._stored.look(name, socket.caller.key_id)
            if head is None:
                is_dead = now - run.began > _UNBEGUN
            else:
                is_dead = head.is_final and now - (head.ended or now) > _DEAD_AFTER
            if is_dead:
                log("socket_reaped", request_id=name)
                if head is None or head.status == "failed":
                    lane = socket.state.lane_of(name)
                    await self._tell(connection_id, _interrupted(name), lane)
                begin += await self._store.change(
                    connection_id,
                    lambda state, name=name: state.ended(name, now),  # type: ignore[misc]
                )
        return begin

    async def _tell(self, connection_id: str, error: APIError, stream_id: str | None) -> None:
        """Send an error event. A client that has left does not need it."""
        try:
            await self._posts.post(connection_id, error_event(error, stream_id))
        except ClientGone:
            return


def _counting(sent: float, state: State) -> RateLimited | None:
    """Count a message of a socket. Return the error for one that is too many.

    It is a Flood if there are so many that the socket is closed.
    """
    left = state.rate.take(sent)
    if left < -MESSAGES_BURST:
        return Flood("This connection sends too many messages.")
    if left >= 0:
        return None
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


def _unavailable() -> Unavailable:
    return Unavailable("The table of sockets does not answer. Try again.", retry_after=5)


def _too_old() -> Unavailable:
    return Unavailable(
        f"The message waited for more than {limits.MESSAGE_AGE:.0f} seconds, because no function "
        "was free. It was not read. Send it again later.",
        code="server_overloaded",
        retry_after=10,
    )


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


def _interrupted(name: str) -> APIError:
    return UpstreamFailed(
        "The function that answered this request was stopped. Read what it had sampled by "
        f"GET /v1/responses/resp_{name}.",
        code="interrupted",
    )


def _nothing_runs(early: Early) -> NotFound:
    if early.response_id is not None:
        return not_found(early.response_id)
    return NotFound(
        "No response is running in this lane, so nothing was cancelled.",
        param="stream_id",
        code="response_not_found",
    )
