"""Makes the numbered events of one response from the bytes that the model sends.

A producer ends in exactly one terminal event, an `End` or a `Failed`, whatever happens to it. A log
has the same terminal event. If another caller has ended the response first, the producer ends as
the log says. Only if the log does not say how the response ended, the producer ends without one. A
producer whose log is lost goes on without it: its live client gets the whole response, and the log
ends as failed.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from lambda_fn import limits
from lambda_fn.errors import (
    NO_RETRY,
    APIError,
    Cancelled,
    Unavailable,
    UpstreamTimeout,
    from_container,
    internal_error,
)
from lambda_fn.event_log import (
    Batch,
    EventLog,
    LogEnded,
    NoLog,
    Take,
    Unended,
    error_of,
    failed_by,
)
from lambda_fn.events import CANCELLED, MALFORMED, NULL, End, Ended, Event, Failed, Failure, Usage
from lambda_fn.log import log
from lambda_fn.stream.usage_counter import UsageCounter
from lambda_fn.transform import Transform

if TYPE_CHECKING:  # the producer knows no database
    from lambda_fn.dialects import Decoder
    from lambda_fn.stream.continuing import Continuing
    from lambda_fn.stream.guard import Guard
    from lambda_fn.stream.invoke import Invocation
    from lambda_fn.stream.reservation import Reservation

_LEFT = Cancelled("The response was left before its end.", code="abandoned")
_LOST = Unavailable(
    "The response could not be stored to its end. Send the request again.", code="log_unavailable"
)


_TERMINAL = (End, Failure)


def _late() -> UpstreamTimeout:
    return UpstreamTimeout("The response took too long, and was ended.")


def _changed(transform: Transform, events: list[Event]) -> list[Event]:
    """Return what a transform makes of events. It must not swallow the end of a response."""
    last, changed = events[-1], transform.feed(events)
    terminal = type(last) is End or type(last) is Failure
    if terminal and (not changed or type(changed[-1]) not in (End, Failure)):
        raise RuntimeError("a transform did not leave the terminal event last")
    return changed


class Producer:
    """One response's producer, as an asynchronous context manager around its invocation.

    It is a source for one delivery, which reads it directly: there is no task and no queue between
    them. Leaving the context before the terminal event ends the response.

    `logged` is False once the log is lost. Nothing is written to it from then on but its end. A
    response without a live client is of no more use then, and can be left.
    """

    def __init__(
        self,
        invocation: "Invocation | Continuing",
        decoder: "Decoder | Continuing",
        counter: UsageCounter,
        event_log: EventLog,
        *,
        seconds: float,
        grace: float = 0.0,
        reservation: "Reservation | None" = None,
        transform: Transform | None = None,
        guard: "Guard | None" = None,
        finishing: Transform | None = None,
        on_stop: Callable[[APIError], None] | None = None,
        clock: Callable[[], float] | None = None,
        moderation: Callable[[], msgspec.Raw] | None = None,
    ) -> None:
        """Join the stages.

        Args:
            invocation: The call of the model; entering the producer's context sends it if it is
                not sent yet.
            decoder: Turns the bytes of the response into events.
            counter: Counts the tokens that the model sampled, before anything is held back or
                changed.
            event_log: An open log. It gets every batch before the batch is returned.
            seconds: The time limit of the response. Then it ends with what there is, or fails if
                there is nothing.
            grace: Further seconds that a client has then for the rest.
            reservation: Holds back what is not reserved yet; None if all is.
            transform: Changes the events. It may end the response.
            guard: Has a guardrail judge them; None if none does.
            finishing: Changes the events that the guard lets out.
            on_stop: Called when `cancel` stops the response, and after the time limit, so that a
                client that does not read cannot delay its end.
            clock: Tells the Unix time, which the end of the response then has.
            moderation: Tells what was flagged, which the end of the response then has.

        """
        self._invocation = invocation
        self._decoder = decoder
        self._counter = counter
        self._log = event_log
        self._is_kept = type(event_log) is not NoLog
        self._seconds = seconds
        self._grace = grace
        self._reservation = reservation
        self._transform = transform
        self._guard = guard
        self._finishing = finishing
        self._on_stop = on_stop
        self._clock = clock
        self._moderation = moderation
        others = (reservation, transform, finishing)
        self._is_plain = all(stage is None for stage in others)
        """Whether what is decoded only has to be counted, and logged, before it is delivered."""
        self._next = 0
        self._flush: asyncio.Future[None] | None = None
        self._ending: asyncio.Future[Batch] | None = None
        self._stopped: APIError | None = None
        self._take: Take | None = None
        self._decoded: list[Event] = []
        """Events that `_pass` has left to `read`, because the response ends with them."""
        self._rest: Callable[[], Awaitable[Batch | None]] | None = None
        """What `_pass` has left to `read`, because it has to wait."""
        self._error: Exception | None = None
        self._expired = False
        self._early = False
        """Whether this producer ended the response before the model did."""
        self._blocked = False
        """Whether a filter ended it."""
        self.ended = False
        self.logged = True

    async def __aenter__(self) -> Self:
        """Send the invocation, unless the response was ended before."""
        if self._stopped is None:
            self._counter.invoked()
            await self._invocation.__aenter__()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)
        if self._guard is not None:
            self._guard.on_verdict = self._invocation.wake
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the invocation, and end the response if it has not ended."""
        self._timer.cancel()
        if self._reservation is not None:
            self._reservation.close()
        if self._guard is not None:
            self._guard.close()
        try:
            if not self.ended:
                with contextlib.suppress(Unended):  # it is logged, and no client reads any more
                    await self._fail(self._stopped or _LEFT)
        finally:
            await self._invocation.__aexit__(kind, error, traceback)

    def cancel(self) -> None:
        """End the response now, because its end was requested. One that has ended stays as it
        is.
        """
        if self._running():
            self._counter.cancelled = True
            self._stop(Cancelled("This response was cancelled.", headers=NO_RETRY))

    def fence(self, is_cancelled: bool) -> None:
        """End the response now as the log says, because somebody else has ended it."""
        if self._running():
            self._counter.cancelled = is_cancelled
            self._stop(Cancelled("This response was cancelled.", headers=NO_RETRY))

    def _running(self) -> bool:
        return not self.ended and self._ending is None and self._stopped is None

    def _stop(self, error: APIError) -> None:
        if self._running():
            self._stopped = error
            self._wake()
            if self._on_stop is not None:
                self._on_stop(error)

    def _expire(self) -> None:
        """End the response at its time limit: with all its text, or as failed if it has none."""
        if not self._counter.completion_tokens:
            self._stop(_late())
        elif self._running():
            self._expired = True
            self._wake()
            if self._on_stop is not None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._grace, self._on_stop, _late())

    def _wake(self) -> None:
        self._invocation.wake()
        if self._reservation is not None:
            self._reservation.wake()
        if self._guard is not None:
            self._guard.wake()

    async def read(self, until: float, take: Take | None = None) -> Batch | None:
        """Return the next batch, None if nothing came until then. See `Source.read`.

        Raises:
            Unended: the log did not tell how the response ends. Nothing else is raised.

        """
        if self.ended:
            raise Unended
        try:
            reservation, guard = self._reservation, self._guard
            if guard is not None and guard.is_waiting:
                if self._stopped is None:
                    await guard.wait(until)
                if self._stopped is not None:
                    return await self._fail(self._stopped)
                events = guard.release()
                return await self._deliver(self._settled(events, None) if guard.blocked else events)
            holding = reservation if reservation is not None and reservation.held else None
            received: bytes | None = None
            if self._stopped is None and not self._expired:
                if holding is not None:
                    await holding.wait(until)
                else:
                    self._take = take
                    passes = None if take is None or guard is not None else self._pass
                    received = await self._invocation.read(until, passes)
            if self._error is not None:
                raise self._error
            if self._rest is not None:
                rest, self._rest = self._rest, None
                return await rest()
            if self._stopped is not None:
                return await self._fail(self._stopped)
            if holding is not None:
                events = self._released(holding)
            elif received is None and not self._decoded and not self._expired:
                return None
            else:
                events = self._decode(received)
                if reservation is not None:
                    events = reservation.take(events)
            if not events:
                return None
            events = self._advance(events)
            if guard is not None:
                events = guard.take(events)
            return await self._deliver(events)
        except Unended:
            raise
        except LogEnded:
            return await self._fail(internal_error())
        except APIError as error:
            return await self._fail(self._stopped or error)
        except Exception as error:  # noqa: BLE001 (the boundary: the response ends in an event, whatever is wrong)
            log("fault", request_id=self._invocation.request_id, error=type(error).__name__)
            return await self._fail(internal_error())
        finally:
            self._error = None  # it refers to frames that refer to this

    def _pass(self, received: bytes) -> bool:
        """Take bytes that come while `read` waits through all stages at once, without a task.

        Return whether that may go on. What has to wait is left to `read`: the end of a response, a
        log that is full, an extension of the reservation, and an error.
        """
        take = self._take
        try:
            events = self._decoder.feed(received)
            if not events:
                return True
            if take is None or type(events[-1]) in _TERMINAL:
                self._decoded = events
                return False
            if self._is_plain:
                self._counter.count(events)
                if not self._is_kept:
                    return take(events)
                batch = self._number(events)
                if self._flush is None and self.logged:
                    return take(events)
                self._rest = partial(self._logged, batch)
                return False
            reservation = self._reservation
            if reservation is not None:
                events = reservation.take(events)
            if events and self._transform is not None:
                events = self._advance(events)
                if events and type(events[-1]) in _TERMINAL:  # a filter has ended it
                    self._rest = partial(self._deliver, events)
                    return False
            else:
                self._counter.count(events)
            if events and self._finishing is not None:
                events = _changed(self._finishing, events)
            if events and self._is_kept:
                was_logged = self.logged
                batch = self._number(events)
                if self._flush is not None or self.logged is not was_logged:
                    self._rest = partial(self._logged, batch)
                    return False
            takes_more = not events or take(events)
            return takes_more and (reservation is None or not reservation.held)
        except Exception as error:  # noqa: BLE001 (`read` raises it)
            self._error = error
            return False

    def _advance(self, events: list[Event]) -> list[Event]:
        """Count and transform events of the model, of which there is at least one."""
        counter = self._counter
        counter.count(events)
        last = events[-1]
        if type(last) is End and (self._early or counter.ended) and not counter.reported:
            events.insert(-1, Usage(counter.prompt_tokens, counter.completion_tokens))
        if self._transform is not None:
            events = self._settled(_changed(self._transform, events), last)
        if type(last) is Failure:
            self._invocation.over = last.code != MALFORMED
            if last.code == CANCELLED:  # somebody has called the container directly
                self._counter.cancelled = True
        elif type(last) is End and not self._blocked:
            self._invocation.over = self._invocation.over or not self._early
        return events

    def _settled(self, events: list[Event], last: Event | None) -> list[Event]:
        """Return events that may be the end of a response that a filter has blocked.

        `last` is the last event that the model sent with them. A response that is blocked is
        complete for the meter, with the tokens that were sampled until then.
        """
        if not events or type(events[-1]) is not End or events[-1] is last or self._blocked:
            return events
        self._blocked = self._early = True
        counter = self._counter
        counter.block()
        if not any(type(event) is Usage for event in events):
            events.insert(-1, Usage(counter.prompt_tokens, counter.completion_tokens))
        return events

    async def _deliver(self, events: list[Event]) -> Batch | None:
        """Number the events that may go out, and close the response with the last ones."""
        if self._finishing is not None and events:
            events = _changed(self._finishing, events)
        if not events:
            return None
        last = events[-1]
        if type(last) is Failure:
            events[-1] = failed_by(from_container(last.code, last.message, last.param))
            return await self._close(events)
        if type(last) is End:
            if self._clock is not None or self._moderation is not None:
                events[-1] = End(
                    None if self._clock is None else int(self._clock()),
                    NULL if self._moderation is None else self._moderation(),
                )
            return await self._close(events)
        return await self._logged(self._number(events))

    async def _logged(self, batch: Batch) -> Batch:
        """Return a batch when it may be delivered."""
        if self._flush is not None:
            await self._kept(self._flush)
        return batch

    def _decode(self, received: bytes | None) -> list[Event]:
        """Return the events of what was received. A response whose time is over ends with them."""
        events, self._decoded = self._decoded, []
        if received is not None:
            events = self._decoder.feed(received) if received else self._decoder.close()
        if self._expired and not (events and type(events[-1]) in (End, Failure)):
            return events + self._cut("deadline")
        return events

    def _released(self, reservation: "Reservation") -> list[Event]:
        """Return held events that are reserved now, or the end of the response if none can be.

        Nothing is returned if that is not decided yet.
        """
        ended: Ended | None = "deadline" if self._expired else None
        if ended is None:
            if reservation.is_asking:
                return []
            events = reservation.release()
            ended = reservation.refused if reservation.held else None
            if events or ended is None:
                return events
        events, self._counter.unbilled = reservation.cut(self._cut(ended)[:-1], ended)
        return [*events, End()]

    def _cut(self, ended: Ended) -> list[Event]:
        """Return the events with which the response ends here."""
        self._early = True
        return [*self._decoder.cut(ended), End()]

    async def _fail(self, error: APIError) -> Batch:
        return await self._end(failed_by(error))

    def _number(self, events: list[Event]) -> Batch:
        """Number events, and begin to log them. `_kept` has to be awaited if `_flush` is set."""
        batch = (self._next, events)
        self._next += len(events)
        if self.logged:
            try:
                self._flush = self._log.append(batch)
            except LogEnded:
                raise
            except Exception as error:  # noqa: BLE001 (the boundary: a live client gets the rest)
                self._lose(error)
        return batch

    async def _kept(self, flush: "asyncio.Future[None]") -> None:
        """Wait until a batch is logged. The log goes on even if the task is cancelled here."""
        try:
            await asyncio.shield(flush)
        except LogEnded:
            raise
        except Exception as error:  # noqa: BLE001 (the boundary: a live client gets the rest)
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        log("log_lost", request_id=self._invocation.request_id, error=type(error).__name__)
        self.logged = False
        self._flush = None  # an error in it refers to frames that refer to this

    async def _close(self, events: list[Event]) -> Batch:
        """Log the last events, and return them as far as the log tells how the response ends."""
        *others, last = events
        first = self._next
        if others:
            self._number(others)
            if self._flush is not None:
                await self._kept(self._flush)
        try:
            _, end = await self._end(last)
        except Unended:
            if not others:
                raise
            end = []  # the next read raises
        return (first, others + end)

    async def _end(self, event: Event) -> Batch:
        """Return the terminal event that stands in the log. If the task was cancelled here before,
        that is the event which was to end the response then.
        """
        own: Batch = (self._next, [event])
        try:
            async with asyncio.timeout(limits.LOG_END_TIMEOUT):
                if self._ending is None:
                    await self._flushed()
                    self._ending = self._log.end(
                        own if self.logged else (self._next, [failed_by(_LOST)])
                    )
                standing: Batch | None = await asyncio.shield(self._ending)
        except Exception as error:  # noqa: BLE001 (the boundary: the client must not get an end that is not in the log)
            log("fault", request_id=self._invocation.request_id, error=type(error).__name__)
            standing = None
        self.ended = True
        self._flush = self._ending = None
        if not self.logged:
            standing = own
        if standing is None:
            self._counter.note(internal_error())
            raise Unended
        if type(last := standing[1][-1]) is Failed:
            self._counter.note(error_of(last))
        return standing

    async def _flushed(self) -> None:
        """Wait for the append that a cancelled task has left."""
        if self._flush is not None:
            try:
                await asyncio.shield(self._flush)
            except LogEnded:
                pass
            except Exception as error:  # noqa: BLE001 (as in `_kept`)
                self._lose(error)
