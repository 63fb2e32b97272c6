"""Stage 7: what it came to. Counts while the answer goes out, and writes it down once, whatever happened."""

import time
from collections.abc import Iterable

from lambda_fn import accounts, ledger
from lambda_fn.authenticate import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.events import Delta, End, Event, Finish, Start, Usage
from lambda_fn.log import log


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


async def settle(table: Table, caller: Caller, *, request_id: str, model: str, tally: Tally) -> None:
    """Settle a request that was admitted: the ledger first, then the account. Never raises for the meter's sake.

    What could not be written is logged with every figure, and stays OPEN or in flight, where it can be found.
    """
    settlement = tally.settlement()
    figures = {
        "request_id": request_id,
        "model": model,
        "outcome": settlement.outcome,
        "finish_reason": settlement.finish_reason,
        "prompt_tokens": settlement.prompt_tokens,
        "completion_tokens": settlement.completion_tokens,
        "ttft_ms": settlement.ttft_ms,
        "duration_ms": settlement.duration_ms,
    }
    try:
        await ledger.settle_request(table, request_id, settlement, now=time.time())
        await accounts.release(
            table,
            caller.key_hash,
            request_id=request_id,
            prompt_tokens=settlement.prompt_tokens,
            completion_tokens=settlement.completion_tokens,
        )
    except MeterUnavailable as error:
        log("settlement_failed", **figures, key=caller.key_hash, reason=str(error))
    else:
        log("request", **figures)
