"""Logged responses: they go on without their client, who can resume them.

A logged response has a task that holds the producer to its end. When the live client does not keep
up, or has left, that task reads the producer. What it reads waits for the client in a bounded queue
(`Live`). So a slow client does not stop the reading of the model.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterError, Table
from lambda_fn.encode import Head
from lambda_fn.errors import APIError, Unavailable
from lambda_fn.event_log import Batch, Take, Unended
from lambda_fn.log import log
from lambda_fn.settings import Model
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.negotiate import ReadRequest
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.settle import Checkpoints
from lambda_fn.stream.usage_counter import UsageCounter
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.results import Input, ResultLog, write_input
from lambda_fn.stream_log.table_log import TableLog
from lambda_fn.stream_log.watching import Watch

if TYPE_CHECKING:
    from lambda_fn.events import Event

HEADER = "x-sluice-stream"
"""The header that names a logged response."""
OFF = {"x-sluice-log": "off"}
"""The header of a response that has no log because its log could not be opened."""


async def open_log(
    table: Table,
    watch: Watch,
    head: Head,
    counter: UsageCounter,
    model: Model,
    *,
    owner: str,
    expires: int,
    refuse: bool,
    kept: Input | None = None,
    metadata: dict[str, str] | None = None,
    chat: bool = False,
) -> TableLog | None:
    """Return the open log of a response, or None if it is answered without one.

    Args:
        table: StreamTable.
        watch: Watches its heads.
        head: The head of the response.
        counter: Counts the response's tokens.
        model: The model that answers.
        owner: The id of the caller's key.
        expires: Unix seconds after which the log does not exist.
        refuse: Whether a response without a log is refused.
        kept: The input, if the response itself is kept as well.
        metadata: What the request attached to the response.
        chat: Whether it is a stored chat completion.

    Raises:
        Unavailable: the log cannot be opened, and `refuse` is set.

    """
    stored = _stored(head, model, owner=owner, expires=expires, metadata=metadata, chat=chat)
    try:
        if kept is not None:
            async with asyncio.timeout(limits.LOG_OPEN_TIMEOUT):
                bodies = await write_input(table, head.response_id, kept, expires=expires)
            stored = msgspec.structs.replace(stored, bodies=bodies)
        event_log = TableLog(table, watch, stored, _counts_of(counter))
        await event_log.open(head)
    except (MeterError, TimeoutError) as error:
        log("log_closed", request_id=head.response_id, error=type(error).__name__)
        if refuse:
            raise Unavailable(
                "The response cannot be stored now, so it was ended before it began, and nothing is "
                "billed. Try again, or send the request without 'durable'.",
                code="log_unavailable",
                retry_after=1,
            ) from None
        return None
    return event_log


async def open_result(
    table: Table,
    head: Head,
    counter: UsageCounter,
    model: Model,
    read: ReadRequest,
    *,
    owner: str,
    expires: int,
    seconds: float,
    refuse: bool,
) -> ResultLog | None:
    """Return the open log of a response that is kept whole, or None if it cannot be kept.

    `seconds` is the time limit of the response. The other arguments, and what is raised, are those
    of `open_log`.
    """
    stored = _stored(
        head, model, owner=owner, expires=expires, metadata=read.metadata, chat=read.is_stored_chat
    )
    result_log = ResultLog(
        table, stored, kept_input(read) or Input(), _counts_of(counter), seconds=seconds
    )
    try:
        await result_log.open(head)
    except (MeterError, TimeoutError) as error:
        log("log_closed", request_id=head.response_id, error=type(error).__name__)
        if refuse:
            raise Unavailable(
                "The response cannot be stored now, so it was ended before it began, and nothing is "
                "billed. Try again, or send the request with 'store': false.",
                code="log_unavailable",
                retry_after=1,
            ) from None
        return None
    return result_log


async def run_out(producer: Producer, checkpoints: Checkpoints) -> None:
    """Read a producer to its end, for a response without a live client. It raises nothing.

    Whoever reads the response later learns from its log how it ended.
    """
    try:
        with checkpoints:
            async with producer:
                while not producer.ended:
                    await producer.read(math.inf)
    except (APIError, Unended):  # it never began, or the log does not tell how it ended
        return


def kept_input(read: ReadRequest) -> Input | None:
    """Return the input that is kept with the response to a request, None if it is not kept."""
    if read.kept_items is None:
        return None
    conversation = None if read.conversation is None else read.conversation.id
    return Input(list(read.kept_items), list(read.ancestors), conversation)


def _counts_of(counter: UsageCounter) -> Callable[[], tuple[int, int]]:
    return lambda: counter.billed


def _stored(
    head: Head,
    model: Model,
    *,
    owner: str,
    expires: int,
    metadata: dict[str, str] | None,
    chat: bool,
) -> StoredHead:
    return StoredHead(
        head=head,
        owner=owner,
        status="in_progress",
        created=head.created,
        expires=expires,
        metadata=metadata or None,
        chat=chat,
        endpoint=model.endpoint,
        component=model.component,
        dialect=model.dialect,
    )


async def deliver(
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


class Live:
    """What a live client gets of a logged response: the source of its delivery.

    While the client keeps up, its delivery reads the producer directly. Once it has blocked for
    `limits.LIVE_PATIENCE`, or has left, `pump` reads the producer, and what the client has not
    taken waits in a queue. A client that takes nothing for `limits.CLIENT_PATIENCE` while there is
    something to send, or that is `limits.LIVE_EVENTS` behind, is disconnected.
    """

    def __init__(self, producer: Producer, delivery: Delivery, lost: Callable[[], bytes]) -> None:
        """Join a producer to its live client.

        `lost` returns what tells the client that the rest is not logged.
        """
        self._producer = producer
        self._delivery = delivery
        self._lost = lost
        self._told = False
        self._entered = asyncio.Event()
        self._taken = asyncio.Event()
        """Set when the producer is read by `pump`, or has ended."""
        self._reading = False
        """Whether the delivery waits for the producer."""
        self._batches: deque[Batch] = deque()
        self._events = 0
        self._over = False
        """Whether nothing more comes."""
        self._waiter: asyncio.Future[None] | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._busy_since = time.monotonic()
        self._watched = False
        """Whether a timer calls `_watch`."""
        self._left = False

    async def pump(self, checkpoints: Checkpoints) -> None:
        """Run the producer until the response ends, and read it when the client does not.

        A response without a client or a log is left.
        """
        self._watch_later()
        try:
            with checkpoints:
                async with self._producer:
                    self._entered.set()
                    await self._taken.wait()
                    await self._read_out()
        except Unended:
            return
        finally:
            self._over = True
            self._entered.set()
            self._wake()

    async def _read_out(self) -> None:
        producer = self._producer
        while not producer.ended:
            batch = await producer.read(math.inf)
            if not producer.logged:
                if self._left:
                    return
                self._tell()
            if batch is not None and not self._left:
                self._put(batch)

    def leave(self) -> None:
        """Keep nothing more for the client, which has everything or has left."""
        self._left = True
        self._taken.set()
        self._batches.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        """Send the client one notice that the log is lost."""
        if not self._told:
            self._told = True
            self._delivery.notice(self._lost())

    def _put(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._events += len(batch[1])
        self._wake()
        if self._events > limits.LIVE_EVENTS:
            self._delivery.let_go()

    async def read(self, until: float, take: Take | None = None) -> Batch | None:
        """Return all that waits for the client. See `Source.read`.

        Raises:
            Unended: the log did not tell how the response ends.

        """
        if not self._entered.is_set():
            await self._entered.wait()
        if not self._taken.is_set():
            return await self._read_directly(until, take)
        if not self._batches and not self._over:
            await self._wait(until)
        self._busy_since = time.monotonic()
        if not self._batches:
            if self._over:
                raise Unended
            return None
        first, events = self._batches.popleft()
        if self._batches:
            joined: list[Event] = list(events)
            for _, more in self._batches:
                joined += more
            self._batches.clear()
            events = joined
        self._events = 0
        return first, events

    async def _read_directly(self, until: float, take: Take | None) -> Batch | None:
        producer = self._producer
        self._reading = True
        try:
            batch = await producer.read(until, take if producer.logged else None)
        finally:
            self._reading = False
            self._busy_since = time.monotonic()
            if producer.ended:
                self._taken.set()
            if not self._watched:
                self._watch_later()
        if not producer.logged:
            self._tell()
        return batch

    async def _wait(self, until: float) -> None:
        """Wait for a batch. One timer serves many calls: if it fires too early, it is set again."""
        self._until = until
        loop = asyncio.get_running_loop()
        if self._timer is not None and self._timer.when() > until:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_at(until, self._ring)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if time.monotonic() < self._until:
            self._timer = asyncio.get_running_loop().call_at(self._until, self._ring)
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _watch(self) -> None:
        """Read in place of a client that takes nothing, and disconnect it after some time.

        It is also disconnected when nothing more comes.
        """
        self._watched = False
        if self._left:
            return
        if self._reading:  # `_read_directly` watches again
            return
        if self._waiter is None:
            seconds = time.monotonic() - self._busy_since
            if seconds >= limits.LIVE_PATIENCE:
                self._taken.set()
            if seconds >= limits.CLIENT_PATIENCE:
                self._delivery.let_go()
                return
        self._watch_later()

    def _watch_later(self) -> None:
        self._watched = True
        interval = min(limits.LIVE_PATIENCE, limits.CLIENT_PATIENCE / 5)
        asyncio.get_running_loop().call_later(interval, self._watch)
