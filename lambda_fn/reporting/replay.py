"""Replay: settlements that could not be written when their time was, from the log lines that stand for them.

A line is the JSON object that `settle` logs, `{"event": "settlement_unsaved", ...}`: by itself, after whatever a log
viewer puts before it, or as the `message` of an event of CloudWatch Logs. All other lines are passed over. Replaying a
line again changes nothing, whatever came between.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.ids import request_time
from lambda_fn.metering import settlements
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices
from lambda_fn.reporting.rollups import Contended, roll_dirty

EVENT = "settlement_unsaved"
_FUTURE = 300.0  # seconds that clocks may differ
_MOST = 10**15

Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a line has to have."""

    event: Literal["settlement_unsaved"]
    request_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-hjkmnp-tv-z]{26}$")]
    key: Annotated[str, msgspec.Meta(pattern=r"^[a-z2-7]{12}$")]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    outcome: Literal["complete", "cut", "failed", "cancelled"]
    finish_reason: str | None
    prompt_tokens: Count
    completion_tokens: Count
    ttft_ms: Milliseconds | None
    duration_ms: Milliseconds | None
    reserved: Count
    reserved_cost: Count
    prompt_price: Count
    completion_price: Count


@dataclass
class Replayed:
    """What came of it, line by line."""

    settled: int = 0
    corrected: int = 0
    """Settled by the sweeper from a checkpoint before, and now as they were."""
    already: int = 0
    malformed: list[str] = field(default_factory=list)
    """Which line, and what is wrong with it."""
    failed: list[str] = field(default_factory=list)
    """Request ids that could not be written; replaying again goes on with them."""
    rolled: int = 0
    """Hours whose rollups were made again."""


async def replay(table: Table, lines: Iterable[str], *, now: Callable[[], float] = time.time) -> Replayed:
    """Settle what the lines say, and make the rollups of their hours again. Never raises for the meter's sake.

    `now` gives the Unix time.
    """
    done = Replayed()
    for number, text in enumerate(lines, 1):
        try:
            line = parse(text)
            if line is not None:
                await _settle(table, line, done, now())
        except ValueError as error:
            done.malformed.append(f"line {number}: {error}")
    with contextlib.suppress(Contended, MeterUnavailable):  # then the sweeper makes them
        done.rolled = await roll_dirty(table, stop=lambda: False)
    return done


def parse(text: str) -> Line | None:
    """Read one line of a log; None when it is about something else.

    Raises:
        ValueError: it is such a line, and makes no sense.

    """
    if EVENT not in text:
        return None
    try:
        found = msgspec.json.decode(text[max(text.find("{"), 0) :].strip())
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    if isinstance(found, dict) and found.get("event") != EVENT and "message" in found:
        message = found["message"]
        return parse(message) if isinstance(message, str) else _checked(message)
    return _checked(found)


def _checked(found: object) -> Line | None:
    if not isinstance(found, dict) or found.get("event") != EVENT:
        return None
    try:
        line = msgspec.convert(found, Line)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if request_time(line.request_id) > time.time() + _FUTURE:
        raise ValueError("its request id is of a time to come")
    return line


async def _settle(table: Table, line: Line, done: Replayed, now: float) -> None:
    opening = Opening(
        line.request_id,
        line.key,
        line.model,
        line.reserved,
        line.reserved_cost,
        Prices(line.prompt_price, line.completion_price),
    )
    settlement = Settlement(
        line.outcome, line.prompt_tokens, line.completion_tokens, line.finish_reason, line.ttft_ms, line.duration_ms
    )
    try:
        before = await table.get(ledger_key(line.request_id))
        if before is not None and before["key"] != line.key:
            raise ValueError("the ledger has this request with another key")
        changed = await settlements.record(table, opening, settlement, now=now)
    except MeterUnavailable:
        done.failed.append(line.request_id)
        return
    if not changed:
        done.already += 1
    elif before is not None and before["state"] == "SETTLED":
        done.corrected += 1
    else:
        done.settled += 1
