"""The ledger item: one for each request, OPEN before the model is invoked, SETTLED once.

pk        LEDGER#<UTC hour>#<shard>, both from the request id
sk        the request id
state     OPEN | SETTLED
key       the key's id
model     the public name
reserved, reserved_cost   upper bounds: tokens, nano-dollars
prompt_price, completion_price   nano-dollars a token, as of the admission: whoever settles uses these
opened    Unix seconds, with milliseconds
while OPEN:
  open, due   LEDGER#<shard>, and when the sweeper is to look: the sparse index has them
  prompt_tokens, completion_tokens, checkpointed   the last checkpoint, if there was one
  cancel      Unix seconds, once its end was asked for: its function sees it with the next checkpoint, and ends it
once SETTLED:
  settled, outcome, finish_reason, prompt_tokens, completion_tokens, cost, ttft_ms, duration_ms
  entry       number of the entry of the account's `in_flight` that it was settled for; none of a request never begun
  recovered   true when it was not the function that settled it; a truer settlement may then still replace it
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Update
from lambda_fn.ids import request_time, shard_of
from lambda_fn.metering.keys import VERSIONED, ledger_key, watched_request
from lambda_fn.metering.money import Prices

Outcome = Literal["complete", "cut", "failed", "cancelled", "refused"]
"""complete: whole; cut: broke off after tokens; failed: before any; cancelled: its end was asked for, or its function
was ended; refused: never begun.
"""
NEW = "attribute_not_exists(pk)"
"""The condition on which an item is put: ids do not repeat."""


class Opening(msgspec.Struct, frozen=True):
    """What is known of a request before it begins."""

    request_id: str
    key_id: str
    model: str
    reserved: int
    reserved_cost: int
    prices: Prices
    overdue: float = limits.OVERDUE
    """After how many seconds its function cannot be at work on it any more."""
    priced: bool = True
    """Whether the model has prices; without, a key with a budget of cost may not use it."""


class Settlement(msgspec.Struct, frozen=True):
    """What a request came to. Times are milliseconds; `ttft_ms` is None when no token came."""

    outcome: Outcome
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    ttft_ms: int | None
    duration_ms: int | None


REFUSED = Settlement("refused", 0, 0, None, None, 0)
"""Of a request that never began."""


def opening_item(opening: Opening) -> Item:
    """Give the item as OPEN; put it on condition `NEW`."""
    opened = request_time(opening.request_id)
    return {
        **_base(opening),
        "state": "OPEN",
        "open": watched_request(shard_of(opening.request_id)),
        "due": int(opened + opening.overdue),
    }


def found_item(opening: Opening, *, entry: int, now: float) -> Item:
    """Give the item, SETTLED and recovered with nothing spent, for a request that is in flight and has none: it never
    reached the model. Put it on condition `NEW`.
    """
    nothing = Settlement("failed", 0, 0, None, None, None)
    figures = {**msgspec.structs.asdict(nothing), "cost": 0}
    settled = {**figures, "entry": entry, "settled": round(now, 3), "recovered": True}
    return {**_base(opening), "state": "SETTLED", **settled}


def settle(
    request_id: str,
    settlement: Settlement,
    *,
    prices: Prices,
    entry: int | None,
    now: float,
    recovered: bool = False,
) -> Update:
    """Move the item from OPEN to SETTLED; the first settlement stays.

    Args:
        request_id: Which request.
        settlement: What it came to.
        prices: Those of its admission.
        entry: Number of the entry on the account, None when there is none.
        now: Unix seconds.
        recovered: It is not the function that settles.

    """
    names, values, changes = _settled(settlement, prices, entry, now)
    values[":was"] = "OPEN"
    if recovered:
        changes.append("recovered = :yes")
        values[":yes"] = True
    names |= {"#open": "open", "#cancel": "cancel"}
    return Update(
        ledger_key(request_id),
        update="SET " + ", ".join(changes) + " REMOVE #open, due, checkpointed, #cancel",
        condition="#state = :was",
        names=names,
        values=values,
    )


def correct(request_id: str, settlement: Settlement, *, prices: Prices, entry: int | None, now: float) -> Update:
    """Replace what the sweeper recovered by what the function had found; that is final. It brings its own prices: an
    item that was found missing has none.
    """
    names, values, changes = _settled(settlement, prices, entry, now)
    changes += [f"{name} = :{name}" for name in prices.attributes]
    values |= {f":{name}": price for name, price in prices.attributes.items()}
    values |= {":was": "SETTLED", ":yes": True}
    return Update(
        ledger_key(request_id),
        update="SET " + ", ".join(changes) + " REMOVE recovered",
        condition="#state = :was AND recovered = :yes",
        names=names,
        values=values,
    )


def checkpoint(request_id: str, *, prompt_tokens: int, completion_tokens: int, now: float) -> Update:
    """Note how far an OPEN request is; a checkpoint that comes late changes nothing."""
    return Update(
        ledger_key(request_id),
        update="SET prompt_tokens = :prompt, completion_tokens = :completion, checkpointed = :now",
        condition="#state = :open AND (attribute_not_exists(checkpointed) OR checkpointed < :now)",
        names={"#state": "state"},
        values={":prompt": prompt_tokens, ":completion": completion_tokens, ":now": round(now, 3), ":open": "OPEN"},
    )


def cancel(request_id: str, *, key_id: str, now: float) -> Update:
    """Ask for the end of an OPEN request of a key; asking again changes nothing. One that is over cannot be ended."""
    return Update(
        ledger_key(request_id),
        update="SET #cancel = if_not_exists(#cancel, :now)",
        condition="#state = :open AND #key = :key",
        names={"#state": "state", "#key": "key", "#cancel": "cancel"},
        values={":now": round(now, 3), ":open": "OPEN", ":key": key_id},
    )


def from_checkpoint(item: Mapping[str, Any]) -> Settlement:
    """Give what an OPEN request came to as far as is known: its last checkpoint."""
    tokens = item.get("completion_tokens", 0)
    duration = None
    if "checkpointed" in item:
        duration = round((item["checkpointed"] - item["opened"]) * 1000)
    return Settlement("cut" if tokens else "failed", item.get("prompt_tokens", 0), tokens, None, None, duration)


def _base(opening: Opening) -> Item:
    return {
        **ledger_key(opening.request_id),
        **VERSIONED,
        "key": opening.key_id,
        "model": opening.model,
        "reserved": opening.reserved,
        "reserved_cost": opening.reserved_cost,
        **opening.prices.attributes,
        "opened": request_time(opening.request_id),
    }


def _settled(
    settlement: Settlement, prices: Prices, entry: int | None, now: float
) -> tuple[dict[str, str], Item, list[str]]:
    values = {
        ":state": "SETTLED",
        ":settled": round(now, 3),
        ":cost": prices.cost(settlement.prompt_tokens, settlement.completion_tokens),
        **{f":{name}": value for name, value in msgspec.structs.asdict(settlement).items()},
    }
    changes = ["#state = :state"]
    changes += [f"{name[1:]} = {name}" for name in values if name != ":state"]
    if entry is not None:
        changes.append("entry = :entry")
        values[":entry"] = entry
    return {"#state": "state"}, values, changes
