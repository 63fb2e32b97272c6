"""Holds: what a request does to its key's account item.

`place` authenticates, checks every limit, takes the upper bounds off the balances and adds the hold
to `in_flight`, all or nothing. `capture` gives back what was not used, books the rest and removes
the hold; `void` gives everything back and books nothing.

Each hold has a fencing number: the number of the attempt that wrote it, counted from 1 (`place`) or
from a random number (`place_unchecked`). The ledger item is settled for one hold and keeps that
number, and only that hold is booked. So an attempt that is carried out late, after its request was
released, cannot have the request booked twice.
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
from lambda_fn.metering.accounts import NOTHING, USABLE, Correction, Hold, Spend
from lambda_fn.metering.keys import account_key, watched_account
from lambda_fn.metering.windows import UNLIMITED, Window, windows_of
from lambda_fn.networks import ANYWHERE


class HoldRequest(msgspec.Struct, frozen=True):
    """What a request wants to hold before it begins: upper bounds of tokens and nano-USD."""

    request_id: str
    tokens: int
    cost: int
    model: str
    fingerprint: str = ""
    overdue: float = limits.OVERDUE
    """Seconds after which the sweeper looks."""
    priced: bool = True
    """Whether the model has prices; a budget of cost cannot be held without them."""
    networks: str = ANYWHERE
    """The key's networks, if they contain the caller's address; a key with other networks rejects.
    """


MAX_EXPIRED = 24
"""Windows that one write removes: an update's text has at most 4 kB, and removing the hold must fit
into it.
"""


def place(key_id: str, key_hash: str, request: HoldRequest, *, now: int) -> Update:
    """Return the update that authenticates, checks all limits and places a hold."""
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
        ":entry": _numbered(hold),
        **_watched(key_id, now + request.overdue),
    }
    if not request.priced:
        values[":unlimited"] = UNLIMITED
    for number, window in enumerate(windows_of(request_time(request.request_id))):
        names[f"#w{number}"] = window.name
    return Update(account_key(key_id), *_placing(priced=request.priced), names, values)


@cache
def _placing(*, priced: bool) -> tuple[str, str]:
    """Return update and condition: the same for every request, whose windows are `#w0` to `#w5`."""
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
        remaining, taken = f"balance.#w{number}", amount_in(window, ":one", ":tokens", ":cost")
        update.append(f"{remaining} = if_not_exists({remaining}, {window.limit}) - {taken}")
        new = f"(attribute_not_exists({remaining}) AND {window.limit} >= {taken})"
        condition.append(f"({remaining} >= {taken} OR {new})")
    return "SET " + ", ".join(update), " AND ".join(condition)


def place_unchecked(
    key_id: str, request_id: str, *, model: str, now: float, correction: Correction | None = None
) -> Update:
    """Return the update that places a hold of nothing without checking a limit, so that a request
    can be booked.

    Args:
        key_id: The account.
        request_id: The request.
        model: Its public name.
        now: Unix seconds.
        correction: What to correct, so that any process that finds the hold can carry it out.

    """
    hold, base = Hold(0, 0, 0, "", model, correction), secrets.randbelow(10**9) + 1000
    return Update(
        account_key(key_id),
        update=f"SET in_flight.#request = :entry, {_WATCH}",
        condition="attribute_exists(pk) AND attribute_not_exists(in_flight.#request)",
        names={"#request": request_id, "#open": "open"},
        values={":entry": _numbered(hold, base), **_watched(key_id, now + limits.OVERDUE)},
    )


def capture(
    key_id: str,
    request_id: str,
    hold: Hold,
    spend: Spend,
    *,
    now: float,
    expired: Sequence[str] = (),
) -> Update:
    """Return the update that removes a hold, books what was spent and gives back the rest.

    It holds once for a hold, however often it is made. What the hold says to be booked already is
    subtracted.

    Args:
        key_id: The account.
        request_id: The request; its time says which windows.
        hold: As it stands in `in_flight`.
        spend: As the ledger has it.
        now: Unix seconds; nothing is given back to windows that ended.
        expired: Windows to remove from `balance`; those over `MAX_EXPIRED` go with later updates.

    """
    booked = spend - (hold.correction.booked if hold.correction else NOTHING)
    update = _removing(key_id, request_id, hold, booked, now=now, expired=expired)
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
    """Return the update that removes a hold and gives back all of it: the ledger was not settled
    for it.
    """
    return _removing(key_id, request_id, hold, NOTHING, now=now)


def _removing(
    key_id: str,
    request_id: str,
    hold: Hold,
    booked: Spend,
    *,
    now: float,
    expired: Sequence[str] = (),
) -> Update:
    names = {"#request": request_id}
    values: Item = {":entry": hold.text}
    changes, removed = [], ["in_flight.#request"]
    tokens, cost = hold.tokens - booked.tokens, hold.cost - booked.cost
    for number, window in enumerate(windows_of(request_time(request_id))):
        back = amount_in(window, 0, tokens, cost)
        if back and window.ends > now:
            remaining = f"balance.#w{number}"
            names[f"#w{number}"] = window.name
            values[f":back{number}"] = back
            changes.append(
                f"{remaining} = if_not_exists({remaining}, {window.limit}) + :back{number}"
            )
    for number, name in enumerate(expired[:MAX_EXPIRED]):
        names[f"#s{number}"] = name
        removed.append(f"balance.#s{number}")
    update = ("SET " + ", ".join(changes) + " " if changes else "") + "REMOVE " + ", ".join(removed)
    return Update(account_key(key_id), update, "in_flight.#request = :entry", names, values)


def unwatch(key_id: str) -> Update:
    """Return the update that takes an account off the sweeper's list, if nothing is in flight."""
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


def amount_in(window: Window, requests: Any, tokens: Any, cost: Any) -> Any:
    """Return the one of the three amounts that a window counts."""
    return {"requests": requests, "tokens": tokens, "cost": cost}[window.name.partition("#")[0]]


_WATCH = "#open = if_not_exists(#open, :open), due = if_not_exists(due, :due)"


def _watched(key_id: str, due: float) -> Item:
    return {":open": watched_account(shard_of(key_id)), ":due": int(due)}


def _numbered(hold: Hold, base: int = 0) -> PerAttempt:
    return PerAttempt(lambda attempt: msgspec.structs.replace(hold, attempt=base + attempt).text)
