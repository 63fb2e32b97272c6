"""What a request does to its key's account item: it reserves, is in flight, is released.

The first write authenticates, holds every limit, takes the reservation and notes the request, all or nothing. The
last gives back what was not used, books what was, and takes the note away.

Each note, an entry of `in_flight`, has a number: that of the try that wrote it, counted from 1 or from a random one.
The ledger item is settled for one entry and keeps its number, and an entry is booked only if it is that one. So a try
that is carried out late, when the request has long been released, cannot have it booked again.
"""

import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import ByTry, Item
from lambda_fn.aws.dynamodb import Update
from lambda_fn.ids import request_time, shard_of
from lambda_fn.metering.accounts import USABLE, Correction, Entry, Spend
from lambda_fn.metering.keys import account_key, watched_account
from lambda_fn.metering.windows import UNLIMITED, Window, windows_of
from lambda_fn.networks import ANYWHERE


class Reservation(msgspec.Struct, frozen=True):
    """What a request takes before it begins: upper bounds, and what it is known by."""

    request_id: str
    tokens: int
    cost: int
    model: str
    fingerprint: str = ""
    overdue: float = limits.OVERDUE
    """After how many seconds the sweeper is to look."""
    priced: bool = True
    """Whether the model has prices: without, a budget of cost would not hold."""
    networks: str = ANYWHERE
    """The key's networks, if the caller's address was found in them: a key that has others refuses."""


NOTHING = Spend(0, 0, 0, 0)
STALE_MOST = 24
"""The most windows that one release removes: DynamoDB takes 4 kB of an update's text, and `in_flight` must be left."""


def reserve(key_id: str, key_hash: str, reservation: Reservation, *, now: int) -> Update:
    """Authenticate, hold every limit, take the reservation and note the request: all or nothing."""
    tokens, cost = reservation.tokens, reservation.cost
    entry = Entry(0, tokens, cost, reservation.fingerprint, reservation.model)
    names = {"#request": reservation.request_id, "#open": "open", "#hash": key_hash}
    values: Item = {
        ":now": now,
        ":yes": True,
        ":hash": key_hash,
        ":model": reservation.model,
        ":networks": reservation.networks,
        ":one": 1,
        ":tokens": tokens,
        ":cost": cost,
        ":entry": ByTry(lambda attempt: msgspec.structs.replace(entry, number=attempt).text),
        **_watched(key_id, now + reservation.overdue),
    }
    if not reservation.priced:
        values[":unlimited"] = UNLIMITED
    for number, window in enumerate(windows_of(request_time(reservation.request_id))):
        names[f"#w{number}"] = window.name
    return Update(account_key(key_id), *_reserving(priced=reservation.priced), names, values)


@cache
def _reserving(*, priced: bool) -> tuple[str, str]:
    """Give the update and the condition; they are the same for every request, whose windows are `#w0` to `#w5`."""
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
        left, taken = f"balance.#w{number}", choose(window, ":one", ":tokens", ":cost")
        update.append(f"{left} = if_not_exists({left}, {window.limit}) - {taken}")
        condition.append(f"({left} >= {taken} OR (attribute_not_exists({left}) AND {window.limit} >= {taken}))")
    return "SET " + ", ".join(update), " AND ".join(condition)


def release(
    key_id: str,
    request_id: str,
    entry: Entry,
    spend: Spend | None,
    *,
    now: float,
    stale: Sequence[str] = (),
) -> Update:
    """Take a request out of flight: give back what was reserved less what was spent, and book that.

    Only once for an entry, however often it is made. What an entry says to be booked already is taken off.

    Args:
        key_id: Whose account.
        request_id: Which request; its time says which windows.
        entry: As it stands in `in_flight`.
        spend: As the ledger has it. None books nothing: the ledger was not settled for this entry.
        now: Unix seconds; nothing is given back to windows that ended.
        stale: Names of windows to remove from `balance`; of many the first ones go, the others with later releases.

    """
    booked = NOTHING
    if spend is not None:
        booked = spend - (entry.correction.booked if entry.correction else NOTHING)
    names = {"#request": request_id}
    values: Item = {":entry": entry.text}
    changes, removed = [], ["in_flight.#request"]
    tokens, cost = entry.tokens - booked.tokens, entry.cost - booked.cost
    for number, window in enumerate(windows_of(request_time(request_id))):
        back = choose(window, 0, tokens, cost)
        if back and window.ends > now:
            left = f"balance.#w{number}"
            names[f"#w{number}"] = window.name
            values[f":back{number}"] = back
            changes.append(f"{left} = if_not_exists({left}, {window.limit}) + :back{number}")
    for number, name in enumerate(stale[:STALE_MOST]):
        names[f"#s{number}"] = name
        removed.append(f"balance.#s{number}")
    update = ("SET " + ", ".join(changes) + " " if changes else "") + "REMOVE " + ", ".join(removed)
    if spend is not None:
        update += " ADD requests :requests, prompt_tokens :prompt, completion_tokens :completion, cost :cost"
        values |= {
            ":requests": booked.requests,
            ":prompt": booked.prompt_tokens,
            ":completion": booked.completion_tokens,
            ":cost": booked.cost,
        }
    return Update(account_key(key_id), update, "in_flight.#request = :entry", names, values)


def enter(key_id: str, request_id: str, *, model: str, now: float, correction: Correction | None = None) -> Update:
    """Note a request as in flight without asking any limit, to book what it came to: its entry has a new number,
    another one for each try.

    Args:
        key_id: Whose account.
        request_id: Which request.
        model: Its public name.
        now: Unix seconds.
        correction: What is to be corrected, so that whoever finds the entry can carry it out.

    """
    entry, base = Entry(0, 0, 0, "", model, correction), secrets.randbelow(10**9) + 1000
    return Update(
        account_key(key_id),
        update=f"SET in_flight.#request = :entry, {_WATCH}",
        condition="attribute_exists(pk) AND attribute_not_exists(in_flight.#request)",
        names={"#request": request_id, "#open": "open"},
        values={
            ":entry": ByTry(lambda attempt: msgspec.structs.replace(entry, number=base + attempt).text),
            **_watched(key_id, now + limits.OVERDUE),
        },
    )


def unwatch(key_id: str) -> Update:
    """Let the sweeper look at the account no more, on condition that nothing is in flight."""
    return Update(
        account_key(key_id),
        update="REMOVE #open, due",
        condition="size(in_flight) = :none",
        names={"#open": "open"},
        values={":none": 0},
    )


def watch_later(key_id: str, *, was: int, due: int) -> Update:
    """Let the sweeper look again at `due`, on condition that it was to look at `was`."""
    return Update(
        account_key(key_id),
        update="SET due = :due",
        condition="due = :was",
        values={":due": due, ":was": was},
    )


def choose(window: Window, request: Any, tokens: Any, cost: Any) -> Any:
    """Choose what counts in a window."""
    return {"requests": request, "tokens": tokens, "cost": cost}[window.name.partition("#")[0]]


_WATCH = "#open = if_not_exists(#open, :open), due = if_not_exists(due, :due)"


def _watched(key_id: str, due: float) -> Item:
    return {":open": watched_account(shard_of(key_id)), ":due": int(due)}
