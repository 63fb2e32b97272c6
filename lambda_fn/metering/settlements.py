"""Account and ledger together: how a request that was admitted is brought to its end, by whoever finds it.

Three ways in: `close`, by the function that served it; `recover`, by the sweeper, from what the items say; `record`, by
replay, of a settlement that could not be written. Each goes on from whatever is there, one conditional write at a time,
and may be made again, or by two at once, or stop anywhere: the books come out the same.

    ledger            in flight      it is
    none              yes            never begun: the ledger gets a SETTLED item with nothing spent, `recovered`
    OPEN              yes            to be settled, from the last checkpoint, and released
    OPEN              no             never begun: to be settled as refused
    SETTLED           this entry     to be released with the ledger's counts
    SETTLED           another entry  a late try, to be released with nothing; or a correction, to be carried out
    SETTLED           no             closed
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Table, Update
from lambda_fn.metering import hours, ledger, reservations
from lambda_fn.metering.accounts import Correction, Entry, Spend
from lambda_fn.metering.dirty_hours import mark_dirty
from lambda_fn.metering.keys import account_key, check_version, ledger_key, request_hour
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices
from lambda_fn.metering.reservations import NOTHING

_WAITS = (0.0, 0.2, 0.8)
"""Seconds before each look for the ledger items of requests that are in flight: both are written at once."""


@dataclass(frozen=True)
class Found:
    """Both items of a request as they were read: the ledger's first."""

    ledger: Item | None
    entry: Entry | None
    account: bool
    """Whether there is an account at all."""


async def look(table: Table, key_id: str, request_id: str) -> Found:
    """Read both items."""
    item = await table.get(ledger_key(request_id))
    if item is not None:
        check_version(item)
    account = await table.get(account_key(key_id))
    text = None if account is None else account["in_flight"].get(request_id)
    return Found(item, text and Entry.read(text), account is not None)


async def close(
    table: Table,
    opening: Opening,
    settlement: Settlement,
    *,
    entry: Entry,
    now: float,
    stale: tuple[str, ...] = (),
    until: float | None = None,
) -> None:
    """Settle and release a request that was admitted, in two writes.

    Args:
        table: The usage table.
        opening: What it was opened with.
        settlement: What it came to.
        entry: As the admission wrote it.
        now: Unix seconds.
        stale: Windows that can be removed.
        until: The time of `time.monotonic` until which the writes are tried.

    Raises:
        MeterUnavailable: it is not known whether it was done; `record` does the rest.

    """
    settle = ledger.settle(opening.request_id, settlement, prices=opening.prices, entry=entry.number, now=now)
    try:
        await table.update(settle, until=until)
    except ConditionFailed as failed:
        if failed.item is None or failed.item.get("recovered") or failed.item.get("entry") != entry.number:
            await record(table, opening, settlement, now=now)  # somebody took it for lost
            return
    spend = spend_of(settlement, opening.prices)
    release = reservations.release(opening.key_id, opening.request_id, entry, spend, now=now, stale=stale)
    await _if_it_holds(table, release, until=until)


async def recover(table: Table, key_id: str, request_id: str, *, now: float) -> str | None:
    """Bring a request to its end that its function left; give what it was, None when there was nothing to do.

    Only for requests whose function cannot be running any more.

    Returns:
        `settled` (from a checkpoint), `refused` (never begun), `found` (in flight without a ledger item), `released`
        (settled, and still in flight), `corrected`, `dropped` (a late try).

    Raises:
        MeterUnavailable: it stopped somewhere; to be called again.

    """
    first: str | None = None
    while True:
        found = await look(table, key_id, request_id)
        step = await _step(table, key_id, request_id, found, now=now)
        if step is None:
            return first
        first = first or step


async def cancel(table: Table, key_id: str, *, now: float) -> list[str]:
    """Ask for the end of all that a key has in flight; give the ids of the requests that are going to end.

    The functions that serve them see it within `limits.CHECKPOINT`. To be called once no other request of the key can
    begin. A request is in flight before its ledger item is there, which is waited for a little.

    Raises:
        MeterUnavailable: it stopped somewhere; to be called again.

    """
    account = await table.get(account_key(key_id))
    asked: list[str] = []
    missing = [] if account is None else sorted(account.get("in_flight", {}))
    for wait in _WAITS:
        await asyncio.sleep(wait)
        waiting, missing = missing, []
        for request_id in waiting:
            try:
                await table.update(ledger.cancel(request_id, key_id=key_id, now=now))
                asked.append(request_id)
            except ConditionFailed as failed:
                if failed.item is None:
                    missing.append(request_id)
        if not missing:
            break
    return asked


async def record(table: Table, opening: Opening, settlement: Settlement, *, now: float) -> bool:
    """Write down what a request truly came to, whatever the items say; give whether that changed anything.

    A settlement of the function's own stays; what the sweeper recovered is corrected.

    Raises:
        MeterUnavailable: it stopped somewhere; to be called again.

    """
    request_id, key_id = opening.request_id, opening.key_id
    changed = False
    while True:
        found = await look(table, key_id, request_id)
        item, entry = found.ledger, found.entry
        if item is None:
            await _put_if_new(table, ledger.opening_item(opening))
        elif item["state"] == "OPEN":
            if entry is None and found.account and settlement.outcome != "refused":
                await _if_it_holds(table, reservations.enter(key_id, request_id, model=opening.model, now=now))
                continue
            number = None if entry is None else entry.number
            settle = ledger.settle(request_id, settlement, prices=Prices.of(item), entry=number, now=now)
            changed = await _if_it_holds(table, settle) or changed
            if entry is None:
                await _mark(table, request_id, now)
        elif entry is not None:
            await _step(table, key_id, request_id, found, now=now)
        elif not item.get("recovered"):
            return changed
        elif not found.account:  # a deleted key: nobody is booked on
            await _mark(table, request_id, now)
            correct = ledger.correct(request_id, settlement, prices=opening.prices, entry=None, now=now)
            changed = await _if_it_holds(table, correct) or changed
            await _mark(table, request_id, now)
        else:
            correction = Correction(booked_of(item), opening.prices, msgspec.structs.asdict(settlement))
            enter = reservations.enter(key_id, request_id, model=opening.model, now=now, correction=correction)
            changed = await _if_it_holds(table, enter) or changed


def spend_of(settlement: Settlement, prices: Prices) -> Spend:
    """Give what a settlement is booked with."""
    tokens = (settlement.prompt_tokens, settlement.completion_tokens)
    return Spend(int(settlement.outcome != "refused"), *tokens, prices.cost(*tokens))


def booked_of(item: Mapping[str, Any]) -> Spend:
    """Give what a SETTLED item is booked with on its account, once it is released."""
    if item["outcome"] == "refused" or "entry" not in item:
        return NOTHING
    return Spend(1, item["prompt_tokens"], item["completion_tokens"], item["cost"])


async def _step(table: Table, key_id: str, request_id: str, found: Found, *, now: float) -> str | None:
    """Do the next thing that is to be done; None when nothing is."""
    item, entry = found.ledger, found.entry
    number = None if entry is None else entry.number
    if item is None:
        if entry is None:
            return None
        opening = Opening(request_id, key_id, entry.model, entry.tokens, entry.cost, Prices(0, 0))
        await _put_if_new(table, ledger.found_item(opening, entry=entry.number, now=now))
        return "found"
    prices = Prices.of(item)
    if item["state"] == "OPEN":
        settlement, begun = ledger.from_checkpoint(item), "checkpointed" in item
        if entry is None and begun and found.account:  # served while the meter was open
            await _if_it_holds(table, reservations.enter(key_id, request_id, model=item["model"], now=now))
            return "settled"
        if entry is None and not begun:
            settlement = ledger.REFUSED
        settle = ledger.settle(request_id, settlement, prices=prices, entry=number, now=now, recovered=True)
        await _if_it_holds(table, settle)
        return "refused" if settlement is ledger.REFUSED else "settled"
    if entry is None:
        return None
    done = "released"
    if number != item.get("entry") and entry.correction is not None and item.get("recovered"):
        settlement, prices = Settlement(**entry.correction.settlement), entry.correction.prices
        correct = ledger.correct(request_id, settlement, prices=prices, entry=entry.number, now=now)
        await _if_it_holds(table, correct)
        return "corrected"
    spend = None
    if number == item.get("entry"):
        counts = int(item["outcome"] != "refused")
        spend = Spend(counts, item["prompt_tokens"], item["completion_tokens"], item["cost"])
    else:
        done = "dropped"
    await _mark(table, request_id, now)
    await _if_it_holds(table, reservations.release(key_id, request_id, entry, spend, now=now))
    return done


async def _mark(table: Table, request_id: str, now: float) -> None:
    """Have a request's hour rolled again, if it may be rolled: before what lets the change to it be forgotten."""
    hour = request_hour(request_id)
    if hours.following(hour) <= hours.hour_at(now):
        await mark_dirty(table, hour)


async def _if_it_holds(table: Table, update: Update, *, until: float | None = None) -> bool:
    try:
        await table.update(update, until=until)
    except ConditionFailed:
        return False
    return True


async def _put_if_new(table: Table, item: Item) -> None:
    try:
        await table.put(item, condition=ledger.NEW)
    except ConditionFailed:
        return
