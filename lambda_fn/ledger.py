"""The ledger item: one for each request, OPEN before the model is invoked, SETTLED once.

pk        LEDGER#<UTC hour>#<shard>, both from the request id
sk        the request id
state     OPEN | SETTLED
key       the key's hash
model     the public name
reserved  tokens, an upper bound
opened    Unix seconds, with milliseconds
ttl       Unix seconds, of requests with a key that nobody has: DynamoDB may delete the item after them
and once SETTLED: settled, outcome, finish_reason, prompt_tokens, completion_tokens, ttft_ms, duration_ms
"""

from dataclasses import dataclass
from typing import Literal

from lambda_fn.aws.dynamodb import ConditionFailed, Table, Value
from lambda_fn.ids import ledger_partition, request_time

Outcome = Literal["complete", "cut", "failed", "cancelled", "refused"]
"""complete: whole; cut: broke off after tokens; failed: before any; cancelled: by the caller; refused: never
begun.
"""


@dataclass(frozen=True)
class Settlement:
    """What a request came to. Times are milliseconds; `ttft_ms` is None when no token came."""

    outcome: Outcome
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    ttft_ms: int | None
    duration_ms: int


def ledger_key(request_id: str) -> dict[str, str]:
    """Give the primary key of a request's ledger item."""
    return {"pk": ledger_partition(request_id), "sk": request_id}


async def open_request(table: Table, request_id: str, *, key_hash: str, model: str, reserved: int) -> None:
    """Write the item as OPEN.

    Raises:
        MeterUnavailable: it is not known whether it was written.

    """
    item: dict[str, Value] = {
        **{attribute: {"S": value} for attribute, value in ledger_key(request_id).items()},
        "state": {"S": "OPEN"},
        "key": {"S": key_hash},
        "model": {"S": model},
        "reserved": {"N": str(reserved)},
        "opened": {"N": f"{request_time(request_id):.3f}"},
    }
    try:
        await table.put(item, condition="attribute_not_exists(pk)")
    except ConditionFailed:
        return  # ids do not repeat: this is our own write, of a try whose answer was lost


async def settle_request(
    table: Table, request_id: str, settlement: Settlement, *, now: float, keep: float | None = None
) -> None:
    """Move the item from OPEN to SETTLED; the first settlement stays. `keep` is for how many seconds, None for ever.

    Raises:
        MeterUnavailable: it is not known whether it was done.

    """
    values: dict[str, Value] = {
        ":open": {"S": "OPEN"},
        ":settled": {"S": "SETTLED"},
        ":now": {"N": f"{now:.3f}"},
        ":outcome": {"S": settlement.outcome},
        ":reason": {"NULL": True} if settlement.finish_reason is None else {"S": settlement.finish_reason},
        ":prompt": {"N": str(settlement.prompt_tokens)},
        ":completion": {"N": str(settlement.completion_tokens)},
        ":ttft": {"NULL": True} if settlement.ttft_ms is None else {"N": str(settlement.ttft_ms)},
        ":duration": {"N": str(settlement.duration_ms)},
    }
    names = {"#state": "state"}
    forget = ""
    if keep is not None:
        names["#ttl"] = "ttl"
        values[":ttl"] = {"N": str(int(now + keep))}
        forget = ", #ttl = :ttl"
    try:
        await table.update(
            ledger_key(request_id),
            update=(
                "SET #state = :settled, settled = :now, outcome = :outcome, finish_reason = :reason, "
                "prompt_tokens = :prompt, completion_tokens = :completion, ttft_ms = :ttft, duration_ms = :duration"
                + forget
            ),
            condition="#state = :open",
            names=names,
            values=values,
        )
    except ConditionFailed:
        return
