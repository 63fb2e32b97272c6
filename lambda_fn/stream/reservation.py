"""The reservation of a response whose request names no limit, and how it grows.

The admission reserves the first step of completion tokens. While the response runs, the hold is
extended by steps that double. An extension is asked for beside the stream, while some seconds of
tokens are left, so that no token waits for it. Nothing over the reservation is delivered before it
is granted. If it is not, the response ends with `length`.
"""

import asyncio
import math
import time

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.events import Delta, End, Ended, Event, Failure, Finish, Usage
from lambda_fn.log import log
from lambda_fn.metering import settlements
from lambda_fn.metering.accounts import Hold
from lambda_fn.metering.ledger import Opening
from lambda_fn.stream.admit import Admission
from lambda_fn.stream.token_bounds import Bounds


class Reservation:
    """The completion tokens that one response may deliver, all choices together.

    `held` has the events that wait for an extension. While there are any, no others may be taken.
    """

    def __init__(
        self,
        table: Table,
        opening: Opening,
        hold: Hold,
        *,
        tokens: int,
        most: int,
        meter_open: bool = False,
    ) -> None:
        """Begin with the first step.

        Args:
            table: The usage table.
            opening: The opening of the request.
            hold: The hold of its admission, which contains `tokens`.
            tokens: The first step.
            most: The completion tokens that the response can have. No more are ever reserved.
            meter_open: Whether the response goes on if the meter does not answer.

        """
        self._table = table
        self._opening = opening
        self.hold = hold
        self._granted: float = tokens
        self._most = most
        self._meter_open = meter_open
        self._step = tokens
        self._tokens = 0
        """The tokens that were let through."""
        self._began = 0.0
        self._refused: Ended | None = None
        self._extension: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.held: list[Event] = []

    def take(self, events: list[Event]) -> list[Event]:
        """Return the events that may go out now, in order, and hold the others."""
        tokens = self._tokens
        for place, event in enumerate(events):
            total = tokens
            if type(event) is Delta:
                total = tokens + event.tokens
            elif type(event) is Usage:
                total = max(tokens, event.completion_tokens)
            if total > self._granted:
                self._tokens = tokens
                self.held = events[place:]
                self._extend(total)
                return events[:place]
            tokens = total
        self._tokens = tokens
        ends = bool(events) and type(events[-1]) in (End, Failure)
        if tokens and not ends and self._extension is None and self._is_due():
            self._extend(tokens)
        return events

    @property
    def is_asking(self) -> bool:
        """Whether an extension is under way."""
        return self._extension is not None

    async def wait(self, until: float) -> None:
        """Wait until it is decided whether the held events go out.

        It returns early at `until`, a time of `time.monotonic`, and if `wake` is called.
        """
        if self._extension is None:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        await asyncio.wait(
            {self._extension, self._waiter},
            timeout=timeout,
            return_when=asyncio.FIRST_COMPLETED,
        )

    def wake(self) -> None:
        """End a `wait`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self) -> list[Event]:
        """Return the held events that an extension covers."""
        held, self.held = self.held, []
        return self.take(held)

    @property
    def refused(self) -> Ended | None:
        """Why nothing more is granted, or None if that is not so."""
        return self._refused if self._extension is None else None

    def cut(self, events: list[Event], ended: Ended) -> tuple[list[Event], int]:
        """Return the end of a response without the held events, and the tokens that it leaves out.

        `events` are those with which the decoder ends it. A choice that loses a part ends with
        `length`.
        """
        lost, unbilled = set[int](), 0
        usage: Usage | None = None
        for event in self.held:
            if type(event) is Delta:
                lost.add(event.index)
                unbilled += event.tokens
        out = [event for event in self.held if type(event) is not Delta] + events
        self.held = []
        ending: list[Event] = []
        for event in out:
            if type(event) is Finish:
                is_lost = event.index in lost
                ending.append(Finish("length", event.index, ended) if is_lost else event)
            elif type(event) is Usage:
                usage = event
            elif type(event) is Delta and not lost:
                ending.append(event)
        if usage is not None:
            sampled = usage.completion_tokens
            delivered = self._tokens if lost else int(min(sampled, self._granted))
            unbilled = max(unbilled, sampled - delivered)
            reasoning = min(usage.reasoning_tokens, delivered)
            ending.append(
                msgspec.structs.replace(
                    usage, completion_tokens=delivered, reasoning_tokens=reasoning
                )
            )
        return ending, unbilled

    async def add_prompt(self, tokens: int) -> bool:
        """Reserve a further prompt, and return whether that was granted.

        Nothing may be taken meanwhile.

        Raises:
            MeterUnavailable: it is not known whether it was.

        """
        if self._extension is not None:
            await asyncio.wait([self._extension])
        deadline = time.monotonic() + limits.EXTENSION_TIMEOUT
        hold = await settlements.extend_prompt(
            self._table, self._opening, self.hold, tokens=tokens, deadline=deadline
        )
        self.hold = hold or self.hold
        return hold is not None

    def close(self) -> None:
        """Stop asking. An extension that is under way may still be carried out."""
        if self._extension is not None:
            self._extension.cancel()

    def _is_due(self) -> bool:
        now = time.monotonic()
        self._began = self._began or now
        left, seconds = self._granted - self._tokens, now - self._began
        if seconds < limits.PACE_AFTER:
            return left < self._granted / 2
        return left <= self._tokens / seconds * limits.EXTENSION_LEAD

    def _extend(self, needed: int) -> None:
        if self._extension is None and self._refused is None and self._granted < self._most:
            self._step = max(2 * self._step, needed - int(self._granted))
            step = min(self._step, self._most - int(self._granted))
            self._extension = asyncio.create_task(self._ask(step))

    async def _ask(self, step: int) -> None:
        deadline = time.monotonic() + limits.EXTENSION_TIMEOUT
        request_id = self._opening.request_id
        try:
            hold = await settlements.extend(
                self._table, self._opening, self.hold, tokens=step, deadline=deadline
            )
        except MeterUnavailable:
            log("unextended", request_id=request_id, reason="the meter does not answer")
            if self._meter_open:
                self._granted = math.inf
            else:
                self._refused = "meter"
        except Exception as error:  # noqa: BLE001 (the boundary: the response ends as reserved)
            log("fault", request_id=request_id, error=type(error).__name__)
            self._refused = "meter"
        else:
            more = 0 if hold is None else hold.tokens - self.hold.tokens
            self._granted += more
            self.hold = hold or self.hold
            if more < step:
                self._refused = "budget"
            elif self._granted >= self._most:
                self._granted = math.inf
        finally:
            self._extension = None


def growing(
    table: Table, admission: Admission, bounds: Bounds, *, meter_open: bool
) -> Reservation | None:
    """Return the reservation of a response, or None if it need not grow.

    That is so if all of the response is reserved, and if its key has no budget.
    """
    account, hold = admission.account, admission.entry
    if not bounds.grows or account is None or hold is None or not account.limits.budgeted:
        return None
    return Reservation(
        table,
        admission.opening,
        hold,
        tokens=bounds.first * bounds.choices,
        most=bounds.completion * bounds.choices,
        meter_open=meter_open,
    )
