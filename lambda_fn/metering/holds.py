"""Holds: the updates that a request makes to its key's account item.

`place` authenticates, checks every limit, subtracts the upper bounds from the balances and adds the
hold to `in_flight`, all or nothing. `extend` raises the amounts of a hold. `capture` adds the
unused amounts to the balances again, books the others and removes the hold. `void` adds everything
to the balances again and books nothing.

Each hold has a fencing number: the number of the attempt that wrote it, counted from 1 (`place`) or
from a random number (`place_unchecked`). The ledger item is settled for one hold and keeps that
number, and only that hold is booked. So a write that DynamoDB executes late, after the request's
hold was removed, cannot cause a second booking.

An extension keeps the number. It replaces the text of the hold on the condition that the text is as
it was, so an attempt that is repeated or comes late extends nothing twice. A later release meets
another text with the same number, and releases the amounts in that text.

An admission that fails voids its hold without a look at the ledger. `claim` changes the text of the
hold, which every condition compares. So once the sweeper has claimed a hold, a void that DynamoDB
executes late cannot remove it, and the ledger can be settled for it.
"""

import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item, PerAttempt
from lambda_fn.aws.dynamodb import Update
from lambda_fn.ids import request_time, shard_of
from lambda_fn.metering.accounts import NOTHING, USABLE, Account, Correction, Hold, Spend
from lambda_fn.metering.keys import account_key, watched_account
from lambda_fn.metering.windows import UNLIMITED, Window, windows_of
from lambda_fn.networks import ANYWHERE


class HoldRequest(msgspec.Struct, frozen=True):
    """The hold that a request asks for before it begins: upper bounds of tokens and nano-USD."""

    request_id: str
    tokens: int
    cost: int
    model: str
    fingerprint: str = ""
    overdue: float = limits.OVERDUE
    """Seconds after which the sweeper examines the account."""
    priced: bool = True
    """Whether the model has prices; a budget of cost cannot be held without them."""
    networks: str = ANYWHERE
    """The networks that the key is expected to have. If it has others, the hold is rejected."""


BUDGETS = ("tokens_day", "cost_day", "tokens_month", "cost_month")
"""The limits that an extension counts in."""
MAX_EXPIRED = 24
"""Maximum number of windows that one write removes.

The text of an update has at most 4 kB, and the removal of the hold must fit into it too.
"""


def place(
    key_id: str, key_hash: str, request: HoldRequest, *, now: int, attempts_before: int = 0
) -> Update:
    """Return the update that authenticates, checks all limits and places a hold.

    If the request has tried to place a hold before, `attempts_before` is the maximum number of
    attempts that it made, so that no two attempts have the same fencing number.
    """
    hold = Hold(0, request.tokens, request.cost, request.fingerprint, request.model)
    names = {"#request": request.request_id, "#open": "open", "#hash": key_hash}
    values: Item = {
        ":now": now,
        ":yes": True,
        ":hash": key_hash,
        ":model": request.model,
        ":networks": request.networks,
        ":one": 1,
        ":tokens": request.tokens,
        ":cost": request.cost,
        ":entry": _numbered(hold, attempts_before),
        **_watched(key_id, now + request.overdue),
    }
    if not request.priced:
        values[":unlimited"] = UNLIMITED
    for number, window in enumerate(windows_of(request_time(request.request_id))):
        names[f"#w{number}"] = window.name
    return Update(account_key(key_id), *_placing(priced=request.priced), names, values)


@cache
def _placing(*, priced: bool) -> tuple[str, str]:
    """Return the update expression and its condition.

    They are the same for every request, because `#w0` to `#w5` stand for its windows.
    """
    update = ["last_used = :now", "in_flight.#request = :entry", _WATCH]
    condition = [
        USABLE,
        "(attribute_not_exists(models) OR contains(models, :model))",
        "(attribute_not_exists(networks) OR networks = :networks)",
        "size(in_flight) < max_streams",
        "attribute_not_exists(in_flight.#request)",
    ]
    if not priced:
        condition.append("cost_day >= :unlimited AND cost_month >= :unlimited")
    for number, window in enumerate(windows_of(0)):
        change, allowed = _taking(number, window, amount_in(window, ":one", ":tokens", ":cost"))
        update.append(change)
        condition.append(allowed)
    return "SET " + ", ".join(update), " AND ".join(condition)


def extend(key_id: str, request_id: str, hold: Hold, extended: Hold) -> Update:
    """Return the update that replaces a hold by one of larger amounts.

    The difference is subtracted from the budgets of the day and the month in which the request was
    admitted. Each of them must have that much left. The limits of the minute do not count it.
    """
    names = {"#request": request_id}
    values: Item = {
        ":entry": hold.text,
        ":extended": extended.text,
        ":tokens": extended.tokens - hold.tokens,
        ":cost": extended.cost - hold.cost,
    }
    update, condition = ["in_flight.#request = :extended"], ["in_flight.#request = :entry"]
    for number, window in enumerate(budgets_of(request_id)):
        names[f"#w{number}"] = window.name
        change, allowed = _taking(number, window, amount_in(window, 0, ":tokens", ":cost"))
        update.append(change)
        condition.append(allowed)
    return Update(
        account_key(key_id), "SET " + ", ".join(update), " AND ".join(condition), names, values
    )


def budgets_of(request_id: str) -> list[Window]:
    """Return the windows of a request's day and month, which extensions count in."""
    windows = windows_of(request_time(request_id))
    return [window for window in windows if window.limit in BUDGETS]


def place_unchecked(
    key_id: str, request_id: str, *, model: str, now: float, correction: Correction | None = None
) -> Update:
    """Return the update that places a hold of 0 without checks, so that a request can be booked.

    Args:
        key_id: The account.
        request_id: The request.
        model: Its public name.
        now: Unix seconds.
        correction: The correction to make. Any process that finds the hold can carry it out.

    """
    hold, base = Hold(0, 0, 0, "", model, correction), secrets.randbelow(10**9) + 1000
    return Update(
        account_key(key_id),
        update=f"SET in_flight.#request = :entry, {_WATCH}",
        condition="attribute_exists(pk) AND attribute_not_exists(in_flight.#request)",
        names={"#request": request_id, "#open": "open"},
        values={":entry": _numbered(hold, base), **_watched(key_id, now + limits.OVERDUE)},
    )


def claim(key_id: str, request_id: str, hold: Hold) -> Update:
    """Return the update that claims a hold for the sweeper."""
    return Update(
        account_key(key_id),
        update="SET in_flight.#request = :claimed",
        condition="in_flight.#request = :entry",
        names={"#request": request_id},
        values={":entry": hold.text, ":claimed": hold.claim().text},
    )


def capture(
    key_id: str,
    request_id: str,
    hold: Hold,
    spend: Spend,
    *,
    now: float,
    admitted: int | None = None,
    expired: Sequence[str] = (),
) -> Update:
    """Return the update that removes a hold, books what was spent and frees the rest.

    Its condition holds once for each hold, however often it is sent. If the hold has a correction,
    the amounts that it says are booked already are subtracted.

    Args:
        key_id: The account.
        request_id: The request. The time in it determines the windows.
        hold: The hold in `in_flight`.
        spend: The amounts in the ledger.
        now: Unix seconds. Windows that have ended are not changed.
        admitted: The tokens that its admission held, which are all that the minute counts. None if
            it was not extended.
        expired: Windows to remove from `balance`. Later updates remove those over `MAX_EXPIRED`.

    """
    booked = spend - (hold.correction.booked if hold.correction else NOTHING)
    update = _removing(
        key_id, request_id, hold, booked, now=now, admitted=admitted, expired=expired
    )
    values = {
        ":requests": booked.requests,
        ":prompt": booked.prompt_tokens,
        ":completion": booked.completion_tokens,
        ":cost": booked.cost,
    }
    add = (
        " ADD requests :requests, prompt_tokens :prompt, completion_tokens :completion, cost :cost"
    )
    return msgspec.structs.replace(
        update, update=update.update + add, values={**update.values, **values}
    )


def void(key_id: str, request_id: str, hold: Hold, *, now: float) -> Update:
    """Return the update that removes a hold and frees all of it.

    It is for a hold for which the ledger was not settled, and will not be.
    """
    return _removing(key_id, request_id, hold, NOTHING, now=now)


def _removing(
    key_id: str,
    request_id: str,
    hold: Hold,
    booked: Spend,
    *,
    now: float,
    admitted: int | None = None,
    expired: Sequence[str] = (),
) -> Update:
    names = {"#request": request_id}
    values: Item = {":entry": hold.text}
    changes, removed = [], ["in_flight.#request"]
    tokens, cost = hold.tokens - booked.tokens, hold.cost - booked.cost
    for number, window in enumerate(windows_of(request_time(request_id))):
        freed = amount_in(window, 0, tokens, cost)
        if window.limit == "tokens_minute" and admitted is not None and admitted < hold.tokens:
            freed = max(0, admitted - booked.tokens)
        if freed and window.ends > now:
            remaining = f"balance.#w{number}"
            names[f"#w{number}"] = window.name
            values[f":back{number}"] = freed
            changes.append(
                f"{remaining} = if_not_exists({remaining}, {window.limit}) + :back{number}"
            )
    for number, name in enumerate(expired[:MAX_EXPIRED]):
        names[f"#s{number}"] = name
        removed.append(f"balance.#s{number}")
    update = ("SET " + ", ".join(changes) + " " if changes else "") + "REMOVE " + ", ".join(removed)
    return Update(account_key(key_id), update, "in_flight.#request = :entry", names, values)


def unwatch(key_id: str) -> Update:
    """Return the update that removes an account from the sweeper's index, if it has no holds."""
    return Update(
        account_key(key_id),
        update="REMOVE #open, due",
        condition="size(in_flight) = :none",
        names={"#open": "open"},
        values={":none": 0},
    )


def watch_later(key_id: str, *, was: int, due: int) -> Update:
    """Return the update that moves the sweeper's next look from `was` to `due`, Unix seconds."""
    return Update(
        account_key(key_id),
        update="SET due = :due",
        condition="due = :was",
        values={":due": due, ":was": was},
    )


def _taking(number: int, window: Window, amount: str) -> tuple[str, str]:
    """Return the assignment that takes an amount from window `#w<number>`, and its condition."""
    remaining = f"balance.#w{number}"
    new = f"(attribute_not_exists({remaining}) AND {window.limit} >= {amount})"
    return (
        f"{remaining} = if_not_exists({remaining}, {window.limit}) - {amount}",
        f"({remaining} >= {amount} OR {new})",
    )


def amount_in(window: Window, requests: Any, tokens: Any, cost: Any) -> Any:
    """Return the amount that a window counts: one of the three."""
    return {"requests": requests, "tokens": tokens, "cost": cost}[window.name.partition("#")[0]]


def held_in(account: Account, window: Window) -> int:
    """Return the amount of a window that requests in flight hold, and may release."""
    held = 0
    for request_id, hold in account.in_flight.items():
        if window in windows_of(request_time(request_id)):
            held += amount_in(window, 1, hold.tokens, hold.cost)
    return held


_WATCH = "#open = if_not_exists(#open, :open), due = if_not_exists(due, :due)"


def _watched(key_id: str, due: float) -> Item:
    return {":open": watched_account(shard_of(key_id)), ":due": int(due)}


def _numbered(hold: Hold, base: int) -> PerAttempt:
    return PerAttempt(lambda attempt: msgspec.structs.replace(hold, attempt=base + attempt).text)
