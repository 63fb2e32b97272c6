"""Replays settlements that were only logged, because the table could not be written.

A line has the JSON object that `settle` logs, `{"event": "settlement_unsaved", ...}`: alone, after
the prefix of a log viewer, or as the `message` of an event of CloudWatch Logs. All other lines are
skipped. Replaying a line again changes nothing, whatever happened in between.
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
from lambda_fn.metering.keys import UnknownVersion, ledger_key
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import PARTS, Prices
from lambda_fn.reporting.rollups import Contended, roll_dirty

EVENT = "settlement_unsaved"
_FUTURE = 300.0  # seconds that clocks may differ
_MAX = 10**15

Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a line."""

    event: Literal["settlement_unsaved"]
    request_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-hjkmnp-tv-z]{26}$")]
    key: Annotated[str, msgspec.Meta(pattern=r"^[a-z2-7]{12}$")]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    outcome: Literal["complete", "cut", "failed", "cancelled", "refused"]
    finish_reason: str | None
    prompt_tokens: Count
    completion_tokens: Count
    ttft_ms: Milliseconds | None
    duration_ms: Milliseconds | None
    reserved: Count
    reserved_cost: Count
    prompt_price: Count
    completion_price: Count
    continued_prompt_tokens: Count = 0
    cached_tokens: Count = 0
    image_tokens: Count = 0
    reasoning_tokens: Count = 0
    cached_price: Count | None = None
    image_price: Count | None = None
    reasoning_price: Count | None = None


@dataclass
class ReplayResult:
    """The numbers of replayed lines."""

    settled: int = 0
    corrected: int = 0
    """Lines that replaced a settlement of the sweeper from a checkpoint."""
    already: int = 0
    malformed: list[str] = field(default_factory=list)
    """The number of each malformed line, and what is wrong with it."""
    failed: list[str] = field(default_factory=list)
    """The ids of requests that could not be written, or that a later deployment wrote; replay their
    lines again. An entry `rollups: ...` names the item of a later deployment that kept rollups from
    being made.
    """
    rolled: int = 0
    """Dirty hours whose rollups were made again."""


async def replay(
    table: Table, lines: Iterable[str], *, now: Callable[[], float] = time.time
) -> ReplayResult:
    """Settle the requests of the lines, and make the rollups of dirty hours again.

    It does not raise MeterUnavailable: the result names the requests that could not be written.
    `now` returns the Unix time.
    """
    result = ReplayResult()
    for number, text in enumerate(lines, 1):
        try:
            line = parse(text)
            if line is not None:
                await _settle(table, line, result, now())
        except ValueError as error:
            result.malformed.append(f"line {number}: {error}")
    with contextlib.suppress(Contended, MeterUnavailable):  # then the sweeper makes these rollups
        try:
            result.rolled = await roll_dirty(table, stop=lambda: False)
        except UnknownVersion as error:
            result.failed.append(f"rollups: {error}")
    return result


def parse(text: str) -> LogLine | None:
    """Read a line of a log. Return None for a line of another event.

    Raises:
        ValueError: the line is malformed.

    """
    if EVENT not in text:
        return None
    try:
        record = msgspec.json.decode(text[max(text.find("{"), 0) :].strip())
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    if isinstance(record, dict) and record.get("event") != EVENT and "message" in record:
        message = record["message"]
        return parse(message) if isinstance(message, str) else _checked(message)
    return _checked(record)


def _checked(record: object) -> LogLine | None:
    if not isinstance(record, dict) or record.get("event") != EVENT:
        return None
    try:
        line = msgspec.convert(record, LogLine)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if request_time(line.request_id) > time.time() + _FUTURE:
        raise ValueError("the time of its request id is in the future")
    return line


async def _settle(table: Table, line: LogLine, result: ReplayResult, now: float) -> None:
    opening = Opening(
        line.request_id,
        line.key,
        line.model,
        line.reserved,
        line.reserved_cost,
        Prices(*(getattr(line, f"{name}_price") for name in PARTS)),
    )
    settlement = Settlement(
        line.outcome,
        line.prompt_tokens,
        line.completion_tokens,
        line.finish_reason,
        line.ttft_ms,
        line.duration_ms,
        line.continued_prompt_tokens,
        line.cached_tokens,
        line.image_tokens,
        line.reasoning_tokens,
    )
    try:
        stored = await table.get(ledger_key(line.request_id))
        if stored is not None and stored["key"] != line.key:
            raise ValueError("the ledger has this request with another key")
        changed = await settlements.replay(table, opening, settlement, now=now)
    except (MeterUnavailable, UnknownVersion, settlements.Stuck):
        result.failed.append(line.request_id)
        return
    if not changed:
        result.already += 1
    elif stored is not None and stored["state"] == "SETTLED":
        result.corrected += 1
    else:
        result.settled += 1
