"""Stage 7: what it came to. Counts while the answer goes out, and writes it down once, whatever happened."""

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.events import Delta, End, Event, Finish, Start, Usage
from lambda_fn.log import log
from lambda_fn.metering import ledger, settlements
from lambda_fn.metering.ledger import Opening
from lambda_fn.stream.admit import Admission


class Tally:
    """The running count of one request. What the model says at its end replaces what was counted on the way."""

    def __init__(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._first_token: float | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.finish_reason: str | None = None
        self.cancelled = False
        self.complete = False

    def count(self, events: Iterable[Event]) -> None:
        """Take note of events that are about to be sent."""
        for event in events:
            if type(event) is Delta:
                self.completion_tokens += event.tokens
                if self._first_token is None:
                    self._first_token = time.monotonic()
            elif type(event) is Finish:
                self.finish_reason = self.finish_reason or event.finish_reason
            elif type(event) is Start:
                self.prompt_tokens = event.prompt_tokens
            elif type(event) is Usage:
                self.prompt_tokens, self.completion_tokens = event.prompt_tokens, event.completion_tokens
            elif type(event) is End:
                self.complete = True

    def settlement(self) -> ledger.Settlement:
        """Give what the request came to, as of now."""
        outcome: ledger.Outcome = "failed"
        if self.complete:
            outcome = "complete"
        elif self.cancelled:
            outcome = "cancelled"
        elif self._first_token is not None:
            outcome = "cut"
        return ledger.Settlement(
            outcome=outcome,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            finish_reason=self.finish_reason if self.complete else None,
            ttft_ms=None if self._first_token is None else round((self._first_token - self._started) * 1000),
            duration_ms=round((time.monotonic() - self._started) * 1000),
        )


class Checkpoints:
    """Notes the progress of a stream every `limits.CHECKPOINT` seconds while its context lasts, and sees whether its
    end was asked for: in the item as the write gives it, or, when there is nothing new to note, by a read.

    Nothing waits for a checkpoint, and one that arrives after the settlement changes nothing.
    """

    def __init__(self, table: Table, request_id: str, tally: Tally, cancel: Callable[[], None]) -> None:
        """Note what `tally` says; `cancel` is called once when the end is asked for."""
        self._table = table
        self._request_id = request_id
        self._tally = tally
        self._cancel = cancel
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        """Begin; an answer that is over before the first checkpoint costs a timer and no task."""
        self._timer = asyncio.get_running_loop().call_later(limits.CHECKPOINT, self._begin)

    def __exit__(self, *_: object) -> None:
        """End."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._note())

    async def _note(self) -> None:
        noted = (0, 0)
        while True:
            now = (self._tally.prompt_tokens, self._tally.completion_tokens)
            try:
                item = await self._look(None if now == noted else now)
                noted = now
            except MeterUnavailable:
                pass  # the next one says more
            except ConditionFailed:
                return  # somebody has settled it
            else:
                if item is None:
                    return  # it was opened without the meter
                if "cancel" in item:
                    self._cancel()
                    return
            await asyncio.sleep(limits.CHECKPOINT)

    async def _look(self, counts: tuple[int, int] | None) -> Item | None:
        """Give the ledger item, with `counts` noted in it when there are some."""
        if counts is None:
            return await self._table.get(ledger.ledger_key(self._request_id))
        update = ledger.checkpoint(
            self._request_id, prompt_tokens=counts[0], completion_tokens=counts[1], now=time.time()
        )
        return await self._table.update(update, tries=1, returns=True)


async def settle(table: Table, admission: Admission, tally: Tally) -> None:
    """Settle a request that was admitted: the ledger first, then the account. Never raises for the meter's sake.

    What could not be written becomes one line of the log that has every figure, from which it can be recorded later.
    """
    settlement = tally.settlement()
    opening = admission.opening
    now = time.time()
    figures = {
        "request_id": opening.request_id,
        "key": opening.key_id,
        "model": opening.model,
        **msgspec.structs.asdict(settlement),
        "cost": opening.prices.cost(settlement.prompt_tokens, settlement.completion_tokens),
    }
    try:
        async with asyncio.timeout(limits.settle_worst()):
            if admission.entry is not None and admission.opened:
                until = time.monotonic() + limits.SETTLE_TIMEOUT
                await settlements.close(
                    table, opening, settlement, entry=admission.entry, now=now, stale=admission.stale, until=until
                )
            else:
                await settlements.record(table, opening, settlement, now=now)
    except BaseException as error:  # whatever it is, also the end of the process: the figures are known only here
        reason = str(error) if isinstance(error, MeterUnavailable) else type(error).__name__
        log("settlement_unsaved", **figures, **unsaved(opening, now), reason=reason)
        if not isinstance(error, Exception):
            raise
    else:
        log("request", **figures)


def unsaved(opening: Opening, now: float) -> dict[str, object]:
    """Give what a settlement's line needs beside its figures, so that `books.record` can be called with it."""
    return {
        "reserved": opening.reserved,
        "reserved_cost": opening.reserved_cost,
        "prompt_price": opening.prices.prompt,
        "completion_price": opening.prices.completion,
        "settled": round(now, 3),
    }
