"""The ledger item: one for each request, put as OPEN before the model is invoked, and SETTLED once.

`keys.LEDGER` lists the attributes. While an item is OPEN, it is in the sparse index `overdue`, and
checkpoints write its counts. The request can be cancelled then (`cancel`): its function sees that
with the next checkpoint. An item stays in the index after it was settled if the log of its response
may be without its end, which the sweeper then writes.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Update
from lambda_fn.ids import request_time, shard_of
from lambda_fn.metering.keys import VERSIONED, ledger_key, watched_request
from lambda_fn.metering.money import Prices, Tokens

Outcome = Literal["complete", "cut", "failed", "cancelled", "refused"]
"""How a request ended.

- complete: the model finished.
- cut: the stream broke off after tokens.
- failed: the stream broke off before any token.
- cancelled: its end was requested, or its function was ended.
- refused: it never began.
"""
NEW = "attribute_not_exists(pk)"
"""The condition with which a new item is put. Request ids are unique."""


class Opening(msgspec.Struct, frozen=True):
    """The data of a request before it begins.

    `reserved` is in tokens, and `reserved_cost` is in nano-USD. They are what its admission
    reserves; an extension changes only the hold.
    """

    request_id: str
    key_id: str
    model: str
    reserved: int
    reserved_cost: int
    prices: Prices
    overdue: float = limits.OVERDUE
    """Seconds after which its function cannot be running any more."""
    priced: bool = True
    """Whether the model has prices; without them, a key with a budget of cost may not use it."""


class Settlement(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of a request. Times are milliseconds; `ttft_ms` is None when no token came.

    `continued_prompt_tokens` are those of `prompt_tokens` that were read again, to continue the
    response after its container had ended. `cached_tokens` and `image_tokens` are those of
    `prompt_tokens` that the server had cached, and that images may have at most.
    `reasoning_tokens` are those of `completion_tokens` that are reasoning.
    """

    outcome: Outcome
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    ttft_ms: int | None
    duration_ms: int | None
    continued_prompt_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def tokens(self) -> Tokens:
        """Its tokens, by what they cost."""
        return Tokens(
            self.prompt_tokens,
            self.completion_tokens,
            self.cached_tokens,
            self.image_tokens,
            self.reasoning_tokens,
        )


REFUSED = Settlement("refused", 0, 0, None, None, 0)
"""The settlement of a request that never began."""


def opening_item(opening: Opening) -> Item:
    """Return the OPEN item of a request. Put it on the condition `NEW`."""
    opened = request_time(opening.request_id)
    return {
        **_admitted(opening),
        "state": "OPEN",
        "open": watched_request(shard_of(opening.request_id)),
        "due": int(opened + opening.overdue),
    }


def unbegun_item(opening: Opening, *, attempt: int, now: float) -> Item:
    """Return a SETTLED item with nothing spent, for a request that has a hold and no item.

    Such a request never reached the model. Put the item on the condition `NEW`.
    """
    nothing = Settlement("failed", 0, 0, None, None, None)
    figures = {**msgspec.to_builtins(nothing), "cost": 0}
    settled = {**figures, "entry": attempt, "settled": round(now, 3), "recovered": True}
    return {**_admitted(opening), "state": "SETTLED", **settled}


def settle(
    request_id: str,
    settlement: Settlement,
    *,
    prices: Prices,
    attempt: int | None,
    now: float,
    recovered: bool = False,
    watched: bool = False,
) -> Update:
    """Return the update that moves an item from OPEN to SETTLED. Only the first one succeeds.

    Args:
        request_id: The request.
        settlement: Its result.
        prices: The prices of its admission.
        attempt: The fencing number of its hold; None when it has none.
        now: Unix seconds.
        recovered: Whether a process other than its function settles it.
        watched: Whether the sweeper still has to look, because the log of the response may not
            have its end. `unwatch` ends that.

    """
    names, values, changes = _settled(settlement, prices, attempt, now)
    values[":was"] = "OPEN"
    if recovered:
        changes.append("recovered = :yes")
        values[":yes"] = True
    removed = "checkpointed, #cancel" if watched else "#open, due, checkpointed, #cancel"
    names |= {"#cancel": "cancel"} if watched else {"#open": "open", "#cancel": "cancel"}
    return Update(
        ledger_key(request_id),
        update="SET " + ", ".join(changes) + " REMOVE " + removed,
        condition="#state = :was",
        names=names,
        values=values,
    )


def unwatch(request_id: str) -> Update:
    """Return the update that ends the watch over a SETTLED item. Repeating it changes nothing."""
    return Update(
        ledger_key(request_id),
        update="REMOVE #open, due",
        condition="#state = :settled",
        names={"#state": "state", "#open": "open"},
        values={":settled": "SETTLED"},
    )


def correct(
    request_id: str, settlement: Settlement, *, prices: Prices, attempt: int | None, now: float
) -> Update:
    """Return the update that replaces a recovered settlement by the function's own, which is final.

    It writes the prices too, because an item that the sweeper had to put has prices of 0.
    """
    names, values, changes = _settled(settlement, prices, attempt, now)
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


def checkpoint(
    request_id: str, *, prompt_tokens: int, completion_tokens: int, now: float
) -> Update:
    """Return the update that writes the counts of an OPEN request. A late one changes nothing."""
    return Update(
        ledger_key(request_id),
        update="SET prompt_tokens = :prompt, completion_tokens = :completion, checkpointed = :now",
        condition="#state = :open AND (attribute_not_exists(checkpointed) OR checkpointed < :now)",
        names={"#state": "state"},
        values={
            ":prompt": prompt_tokens,
            ":completion": completion_tokens,
            ":now": round(now, 3),
            ":open": "OPEN",
        },
    )


def cancel(request_id: str, *, key_id: str | None, now: float) -> Update:
    """Return the update that cancels an OPEN request. Repeating it changes nothing.

    The request must be one of the key, or with None, of any key.
    """
    update = Update(
        ledger_key(request_id),
        update="SET #cancel = if_not_exists(#cancel, :now)",
        condition="#state = :open",
        names={"#state": "state", "#cancel": "cancel"},
        values={":now": round(now, 3), ":open": "OPEN"},
    )
    if key_id is None:
        return update
    return msgspec.structs.replace(
        update,
        condition=f"{update.condition} AND #key = :key",
        names={**update.names, "#key": "key"},
        values={**update.values, ":key": key_id},
    )


def from_checkpoint(item: Mapping[str, Any]) -> Settlement:
    """Return the settlement of an OPEN request from its last checkpoint."""
    tokens = item.get("completion_tokens", 0)
    duration = None
    if "checkpointed" in item:
        duration = round((item["checkpointed"] - item["opened"]) * 1000)
    return Settlement(
        "cut" if tokens else "failed", item.get("prompt_tokens", 0), tokens, None, None, duration
    )


def _admitted(opening: Opening) -> Item:
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
    settlement: Settlement, prices: Prices, attempt: int | None, now: float
) -> tuple[dict[str, str], Item, list[str]]:
    """Return the names, values and assignments of an update that settles."""
    values = {
        ":state": "SETTLED",
        ":settled": round(now, 3),
        ":cost": prices.cost(settlement.tokens),
        **{f":{name}": value for name, value in msgspec.to_builtins(settlement).items()},
    }
    changes = ["#state = :state"]
    changes += [f"{name[1:]} = {name}" for name in values if name != ":state"]
    if attempt is not None:
        changes.append("entry = :entry")
        values[":entry"] = attempt
    return {"#state": "state"}, values, changes
