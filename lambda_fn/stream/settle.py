"""Stage 8: settlement.

Checkpoints are written while a response is produced, and one settlement when it ends in any way.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.ids import request_time
from lambda_fn.log import log
from lambda_fn.metering import ledger, settlements
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.stream.admit import Admission
from lambda_fn.stream.usage_counter import UsageCounter

if TYPE_CHECKING:
    from lambda_fn.metering.budget_alerts import Noted


class Checkpoints:
    """Writes the progress of a response to its ledger item, every `limits.CHECKPOINT` seconds.

    It does so while its context is open. It also notices when somebody cancels the response: in
    the item that the write returns, or by a read when there is nothing new to write. No token waits
    for a checkpoint, and a checkpoint that arrives after the settlement changes nothing.
    """

    def __init__(
        self,
        table: Table,
        request_id: str,
        counter: UsageCounter,
        cancel: Callable[[], None],
        *,
        logged: bool = False,
    ) -> None:
        """Take the counter to write. `cancel` is called once if somebody cancels the request.

        The progress of a logged response is in its log, so only the cancel is looked for then.
        """
        self._table = table
        self._request_id = request_id
        self._counter = counter
        self._cancel = cancel
        self._logged = logged
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        """Start. A response that ends before the first checkpoint costs a timer and no task."""
        self._timer = asyncio.get_running_loop().call_later(limits.CHECKPOINT, self._begin)

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._repeat())

    async def _repeat(self) -> None:
        written = (0, 0)
        while True:
            counts = self._counter.billed
            try:
                item = await self._look(None if self._logged or counts == written else counts)
                written = counts
            except MeterUnavailable:
                pass  # the next checkpoint has these tokens too
            except ConditionFailed:
                return  # the request has been settled
            else:
                if item is None:
                    return  # it was admitted without the meter, and has no ledger item
                if "cancel" in item:
                    self._cancel()
                    return
            await asyncio.sleep(limits.CHECKPOINT)

    async def _look(self, counts: tuple[int, int] | None) -> Item | None:
        """Write `counts` if there are any, and return the ledger item."""
        if counts is None:
            return await self._table.get(ledger_key(self._request_id))
        update = ledger.checkpoint(
            self._request_id, prompt_tokens=counts[0], completion_tokens=counts[1], now=time.time()
        )
        return await self._table.update(update, max_attempts=1, return_item=True)


async def settle(
    table: Table,
    admission: Admission,
    counter: UsageCounter,
    *,
    deployment: str | None = None,
    watched: bool = False,
) -> None:
    """Settle a request that was admitted: the ledger first, then the account.

    It raises nothing when the meter fails. Then it logs one line with every figure, from which the
    settlement can be replayed. With a `deployment`, the line has the request's metrics. `watched`
    says that the log of the response may be without its end, so that the sweeper has to look.
    """
    began = time.monotonic()
    settlement = ledger.Settlement(
        outcome=counter.outcome,
        prompt_tokens=counter.billed[0],
        completion_tokens=counter.completion_tokens,
        finish_reason=counter.finish_reason,
        ttft_ms=counter.ttft_ms,
        duration_ms=counter.duration_ms,
        continued_prompt_tokens=counter.continued_prompt_tokens,
        cached_tokens=counter.cached_tokens,
        image_tokens=min(counter.image_tokens, counter.prompt_tokens),
        reasoning_tokens=counter.reasoning_tokens,
    )
    opening = admission.opening
    now = time.time()
    figures = {
        "request_id": opening.request_id,
        "key": opening.key_id,
        "model": opening.model,
        **msgspec.to_builtins(settlement),
        "cost": opening.prices.cost(settlement.tokens),
    }

    def metrics(*, saved: bool) -> dict[str, object]:
        if deployment is None:
            return {}
        from lambda_fn.stream.metrics import members  # behind the last byte, not at a cold start

        lag = time.monotonic() - began
        return members(
            counter, opening, settlement, deployment=deployment, lag=lag, now=now, saved=saved
        )

    account: Item | None = None
    try:
        async with asyncio.timeout(limits.settle_worst()):
            if admission.entry is not None and admission.opened:
                deadline = time.monotonic() + limits.SETTLE_TIMEOUT
                account = await settlements.settle(
                    table,
                    opening,
                    settlement,
                    hold=admission.entry,
                    now=now,
                    expired=admission.stale,
                    deadline=deadline,
                    return_account=_has_month(admission),
                    watched=watched,
                )
            else:
                await settlements.replay(table, opening, settlement, now=now)
    except BaseException as error:  # also if the process ends: no other place has the figures
        reason = str(error) if isinstance(error, MeterUnavailable) else type(error).__name__
        replayable = {**figures, **unsaved(opening, now), "reason": reason}
        log("settlement_unsaved", **replayable, **metrics(saved=False))
        if not isinstance(error, Exception):
            raise
    else:
        log("request", **{**figures, **_ended(counter), **metrics(saved=True)})
        if account is not None:
            await _alert(table, account, opening.request_id, now=now)
    if counter.trace is not None:
        from lambda_fn.stream.metrics import cause  # behind the last byte, as above

        counter.trace.settled(counter, opening, settlement, cause(counter))


def _has_month(admission: Admission) -> bool:
    return admission.account is not None and admission.account.limits.budgeted_by_month


async def _alert(table: Table, account: Item, request_id: str, *, now: float) -> None:
    """Put the alerts of an account that are new. If it fails, the next settlement does it."""
    when = request_time(request_id)
    with contextlib.suppress(MeterUnavailable):
        await _noted().note(table, Account.of(account), when=when, now=now)


@cache
def _noted() -> "Noted":
    from lambda_fn.metering.budget_alerts import Noted  # behind the last byte

    return Noted()


def _ended(counter: UsageCounter) -> dict[str, object]:
    """Return why this service ended the response, and the sampled tokens that are not billed."""
    if counter.ended is None and not counter.unbilled:
        return {}
    return {"ended": counter.ended, "Unbilled": counter.unbilled}


def unsaved(opening: Opening, now: float) -> dict[str, object]:
    """Return the fields that a replay needs beside the figures in a settlement's log line."""
    return {
        "reserved": opening.reserved,
        "reserved_cost": opening.reserved_cost,
        **opening.prices.attributes,
        "settled": round(now, 3),
    }
