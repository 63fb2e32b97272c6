"""Brings an admitted request to its end, in its account and in the ledger together.

The function that served the request calls `settle`; while it runs, `extend` raises its hold. The
sweeper calls `recover`, which works from the two items. `replay` writes a settlement that was only
logged. Each continues from the state that it finds, one conditional write at a time. It may be
repeated, run twice at once or stop anywhere: account and ledger end up the same.

    ledger    hold on the account   state of the request
    none      one                   never begun: claim the hold, then put a SETTLED item with
                                    nothing spent, `recovered`
    OPEN      one                   claim the hold, settle from the last checkpoint or the log, then
                                    capture
    OPEN      none                  never begun: settle it as refused
    SETTLED   the settled one       capture it with the counts of the ledger
    SETTLED   another one           a late attempt: void it; or a correction: carry it out
    SETTLED   none                  closed
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Table, Update
from lambda_fn.metering import holds, hours, ledger
from lambda_fn.metering.accounts import NOTHING, Account, Correction, Hold, Spend
from lambda_fn.metering.dirty_hours import mark_dirty
from lambda_fn.metering.keys import account_key, check_version, ledger_key, request_hour
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices

_DELAYS = (0.0, 0.2, 0.8)
"""Seconds to wait before each search for the ledger items of requests in flight.

A hold and its ledger item are written in parallel, so the item may not exist yet.
"""


_EXTENSIONS = 2
"""Writes that one extension makes at most: for the whole step, and for what remains."""


class Stuck(ValueError):
    """A step changed nothing, so that no further step brings the request to its end."""


@dataclass(frozen=True)
class RequestItems:
    """The ledger item and the hold of a request. The ledger item was read first."""

    ledger: Item | None
    hold: Hold | None
    has_account: bool


async def read(table: Table, key_id: str, request_id: str) -> RequestItems:
    """Read both items. Raises UnknownVersion."""
    item = await table.get(ledger_key(request_id))
    if item is not None:
        check_version(item)
    account = await table.get(account_key(key_id))
    if account is None:
        return RequestItems(item, None, has_account=False)
    check_version(account)
    text = account["in_flight"].get(request_id)
    return RequestItems(item, text and Hold.parse(text), has_account=True)


async def settle(
    table: Table,
    opening: Opening,
    settlement: Settlement,
    *,
    hold: Hold,
    now: float,
    expired: tuple[str, ...] = (),
    deadline: float | None = None,
    return_account: bool = False,
    watched: bool = False,
) -> Item | None:
    """Settle an admitted request and capture its hold, in two writes.

    Args:
        table: The usage table.
        opening: The opening of the request.
        settlement: Its result.
        hold: The hold of its admission.
        now: Unix seconds.
        expired: Windows that can be removed.
        deadline: The time of `time.monotonic` until which the writes are attempted.
        return_account: Whether the account item is wanted.
        watched: Whether the log of the response may be without its end, as in `ledger.settle`.

    Returns:
        The account item after it, if it is wanted and this has captured the hold.

    Raises:
        MeterUnavailable: it is not known what was written. `replay` completes it.

    """
    update = ledger.settle(
        opening.request_id,
        settlement,
        prices=opening.prices,
        attempt=hold.attempt,
        now=now,
        watched=watched,
    )
    try:
        await table.update(update, deadline=deadline)
    except ConditionFailed as failed:
        if (
            failed.item is None
            or failed.item.get("recovered")
            or failed.item.get("entry") != hold.attempt
        ):
            await replay(table, opening, settlement, now=now)  # the sweeper has settled it
            return None
    spend = spend_of(settlement, opening.prices)
    held: Hold | None = hold
    while held is not None:
        update = holds.capture(
            opening.key_id,
            opening.request_id,
            held,
            spend,
            now=now,
            admitted=opening.reserved,
            expired=expired,
        )
        try:
            account = await table.update(update, deadline=deadline, return_item=return_account)
        except ConditionFailed as failed:
            # A late extension may have changed the hold. What the sweeper claimed is left to it.
            held = _changed(failed.item, opening, held)
        else:
            return account if return_account else None
    return None


def _changed(item: Item | None, opening: Opening, hold: Hold) -> Hold | None:
    """Return the hold in an account item if it has the same number and another text, else None."""
    text = None if item is None else item["in_flight"].get(opening.request_id)
    if text is None or text == hold.text:
        return None
    found = Hold.parse(text)
    return found if found.attempt == hold.attempt and not found.claimed else None


async def recover(
    table: Table, key_id: str, request_id: str, *, now: float, logged: Settlement | None = None
) -> str | None:
    """Finish a request whose function ended without settling it.

    Call it only when the function cannot be running any more. `logged` is the settlement by the
    log of its response, if it has one. Such a request has no checkpoints.

    Returns:
        The first step that was taken, or None if there was nothing to do: `settled` (from a
        checkpoint or the log), `refused` (it never began), `found` (it was in flight without a
        ledger item), `released` (it was settled and still in flight), `corrected`, `dropped` (the
        hold was a late attempt's).

    Raises:
        MeterUnavailable: it stopped somewhere; call it again.
        Stuck: a step changed nothing.

    """
    first_step: str | None = None
    before: RequestItems | None = None
    while True:
        items = before = await _read_next(table, key_id, request_id, before)
        step = await _step(table, key_id, request_id, items, now=now, logged=logged)
        if step is None:
            return first_step
        first_step = first_step or step


async def cancel_all(table: Table, key_id: str, *, now: float) -> list[str]:
    """Cancel all requests that a key has in flight, and return the ids of those that will end.

    The functions that serve them see it within `limits.CHECKPOINT`. Call it once no other request
    of the key can begin. A request may be in flight shortly before its ledger item exists, so
    missing items are looked for again.

    Raises:
        MeterUnavailable: it stopped somewhere; call it again.

    """
    account = await table.get(account_key(key_id))
    cancelled: list[str] = []
    missing = [] if account is None else sorted(account.get("in_flight", {}))
    for delay in _DELAYS:
        await asyncio.sleep(delay)
        pending, missing = missing, []
        for request_id in pending:
            try:
                await table.update(ledger.cancel(request_id, key_id=key_id, now=now))
                cancelled.append(request_id)
            except ConditionFailed as failed:
                if failed.item is None:
                    missing.append(request_id)
        if not missing:
            break
    return cancelled


async def replay(table: Table, opening: Opening, settlement: Settlement, *, now: float) -> bool:
    """Write the true result of a request, from any state. Return whether that changed anything.

    A settlement by the function stays. A recovered one is corrected. The sweeper goes on to watch
    an item that is settled here: it is not known here whether the log of the response has its end.

    Raises:
        MeterUnavailable: it stopped somewhere; call it again.
        Stuck: a step changed nothing.

    """
    request_id, key_id = opening.request_id, opening.key_id
    changed = False
    before: RequestItems | None = None
    while True:
        items = before = await _read_next(table, key_id, request_id, before)
        item, hold = items.ledger, items.hold
        if item is None:
            await _put_if_new(table, ledger.opening_item(opening))
        elif item["state"] == "OPEN":
            if hold is None and items.has_account and settlement.outcome != "refused":
                update = holds.place_unchecked(key_id, request_id, model=opening.model, now=now)
                await _if_it_holds(table, update)
                continue
            attempt = None if hold is None else hold.attempt
            update = ledger.settle(
                request_id,
                settlement,
                prices=Prices.of(item),
                attempt=attempt,
                now=now,
                watched=True,
            )
            if hold is None:  # nothing else shows the change
                await _mark_dirty(table, request_id, now)
            changed = await _if_it_holds(table, update) or changed
            if hold is None:
                await _mark_dirty(table, request_id, now)
        elif hold is not None:
            await _step(table, key_id, request_id, items, now=now)
        elif not item.get("recovered"):
            return changed
        elif not items.has_account:  # without an account, nothing can be booked
            await _mark_dirty(table, request_id, now)
            update = ledger.correct(
                request_id, settlement, prices=opening.prices, attempt=None, now=now
            )
            changed = await _if_it_holds(table, update) or changed
            await _mark_dirty(table, request_id, now)
        else:
            correction = Correction(
                booked_of(item), opening.prices, msgspec.to_builtins(settlement)
            )
            update = holds.place_unchecked(
                key_id, request_id, model=opening.model, now=now, correction=correction
            )
            changed = await _if_it_holds(table, update) or changed


async def extend(
    table: Table, opening: Opening, hold: Hold, *, tokens: int, deadline: float | None = None
) -> Hold | None:
    """Extend the hold of a running request by completion tokens, in one write.

    If the budgets do not allow all of them, as many as remain are tried, in a second write. Both
    are attempted until `deadline`, a time of `time.monotonic`.

    Returns:
        The hold as it is now: also if an earlier attempt, or one that came late, has extended it.
        None if nothing more was granted.

    Raises:
        MeterUnavailable: it is not known whether the hold was extended. Its release finds out.

    """
    for _ in range(_EXTENSIONS):
        extended = hold.extend(tokens, opening.prices.bound(0, tokens))
        update = holds.extend(opening.key_id, opening.request_id, hold, extended)
        try:
            await table.update(update, deadline=deadline)
        except ConditionFailed as failed:
            item = failed.item
            if item is None or item["in_flight"].get(opening.request_id) != hold.text:
                return _changed(item, opening, hold)
            tokens = min(tokens - 1, _remaining(item, opening))
            if tokens <= 0:
                return None
        else:
            return extended
    return None


async def extend_prompt(
    table: Table, opening: Opening, hold: Hold, *, tokens: int, deadline: float | None = None
) -> Hold | None:
    """Extend the hold of a running request by tokens of a further prompt, all or nothing.

    Returns:
        The hold as it is now. None if the budgets do not allow the tokens, or if the hold is not
        the one that was read.

    Raises:
        MeterUnavailable: it is not known whether the hold was extended. Its release finds out.

    """
    extended = hold.extend(tokens, opening.prices.bound(tokens, 0))
    update = holds.extend(opening.key_id, opening.request_id, hold, extended)
    try:
        await table.update(update, deadline=deadline)
    except ConditionFailed as failed:
        found = _changed(failed.item, opening, hold)
        return extended if found is not None and found.text == extended.text else None
    return extended


def _remaining(item: Item, opening: Opening) -> int:
    """Return the completion tokens that the budgets of a request allow beside all holds."""
    account = Account.of(item)
    remaining: int = min(
        account.remaining(window) // amount
        for window in holds.budgets_of(opening.request_id)
        if (amount := holds.amount_in(window, 0, 1, opening.prices.completion_bound))
    )
    return remaining


def spend_of(settlement: Settlement, prices: Prices) -> Spend:
    """Return the amounts that the account is charged for a settlement."""
    return Spend(
        int(settlement.outcome != "refused"),
        settlement.prompt_tokens,
        settlement.completion_tokens,
        prices.cost(settlement.tokens),
    )


def booked_of(item: Mapping[str, Any]) -> Spend:
    """Return the amounts that the account is charged for a SETTLED item with a captured hold."""
    if item["outcome"] == "refused" or "entry" not in item:
        return NOTHING
    return Spend(1, item["prompt_tokens"], item["completion_tokens"], item["cost"])


async def _step(
    table: Table,
    key_id: str,
    request_id: str,
    items: RequestItems,
    *,
    now: float,
    logged: Settlement | None = None,
) -> str | None:
    """Take the next step towards the end. Return its name, or None if none is left."""
    item, hold = items.ledger, items.hold
    # A void by the function may still be carried out. Once the hold is claimed, it fails. Otherwise
    # it could remove the hold after the ledger was settled for it, and nothing would be booked.
    if (
        hold is not None
        and not hold.claimed
        and (item is None or item["state"] == "OPEN")
        and not await _if_it_holds(table, holds.claim(key_id, request_id, hold))
    ):
        return "found" if item is None else "settled"
    if item is None:
        if hold is None:
            return None
        opening = Opening(request_id, key_id, hold.model, hold.tokens, hold.cost, Prices(0, 0))
        await _put_if_new(table, ledger.unbegun_item(opening, attempt=hold.attempt, now=now))
        return "found"
    if item["state"] == "OPEN":
        settlement = logged or ledger.from_checkpoint(item)
        was_served = logged is not None or "checkpointed" in item
        if hold is None and was_served and items.has_account:  # served while the meter failed open
            update = holds.place_unchecked(key_id, request_id, model=item["model"], now=now)
            await _if_it_holds(table, update)
            return "settled"
        if hold is None and not was_served:
            settlement = ledger.REFUSED
        attempt = None if hold is None else hold.attempt
        update = ledger.settle(
            request_id, settlement, prices=Prices.of(item), attempt=attempt, now=now, recovered=True
        )
        await _if_it_holds(table, update)
        return "refused" if settlement is ledger.REFUSED else "settled"
    if hold is None:
        return None
    settled_for_it = hold.attempt == item.get("entry")
    if not settled_for_it and hold.correction is not None and item.get("recovered"):
        settlement, prices = Settlement(**hold.correction.settlement), hold.correction.prices
        update = ledger.correct(
            request_id, settlement, prices=prices, attempt=hold.attempt, now=now
        )
        await _if_it_holds(table, update)
        return "corrected"
    update = holds.void(key_id, request_id, hold, now=now)
    if settled_for_it:
        requests = int(item["outcome"] != "refused")
        spend = Spend(requests, item["prompt_tokens"], item["completion_tokens"], item["cost"])
        update = holds.capture(key_id, request_id, hold, spend, now=now, admitted=item["reserved"])
    await _mark_dirty(table, request_id, now)
    await _if_it_holds(table, update)
    return "released" if settled_for_it else "dropped"


async def _read_next(
    table: Table, key_id: str, request_id: str, before: RequestItems | None
) -> RequestItems:
    """Read both items after a step. Raises Stuck if they are as they were `before` it."""
    items = await read(table, key_id, request_id)
    if items == before:  # or another process changed the ledger, and then the account, meanwhile
        items = await read(table, key_id, request_id)
    if items == before:
        raise Stuck(f"{request_id} of key {key_id}: a step changed neither account nor ledger.")
    return items


async def _mark_dirty(table: Table, request_id: str, now: float) -> None:
    """Mark a request's hour dirty if it may have rollups.

    Call it before the write that removes the last trace of the change. If the change itself is that
    write, call it before and after: the rollups may be made again in between.
    """
    hour = request_hour(request_id)
    if hours.following(hour) <= hours.hour_at(now):
        await mark_dirty(table, hour)


async def _if_it_holds(table: Table, update: Update, *, deadline: float | None = None) -> bool:
    """Make an update; return whether its condition held."""
    try:
        await table.update(update, deadline=deadline)
    except ConditionFailed:
        return False
    return True


async def _put_if_new(table: Table, item: Item) -> None:
    try:
        await table.put(item, condition=ledger.NEW)
    except ConditionFailed:
        return
