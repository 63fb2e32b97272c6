"""The endpoints of usage by key, model, day and hour, as JSON or CSV, and of single requests."""

import asyncio
import csv
import io
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, cast, get_args

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from lambda_fn.cells import inert
from lambda_fn.control import models_in, models_out
from lambda_fn.control.services import Services, Shared, in_time
from lambda_fn.errors import InvalidRequest, NotFound
from lambda_fn.ids import request_time
from lambda_fn.metering import hours
from lambda_fn.metering.keys import account_id, account_key, ledger_key
from lambda_fn.metering.money import Prices, to_text
from lambda_fn.reporting.usage import By, UsageRow, grouped, usage

router = APIRouter(tags=["usage"])

_DAYS = 30
_MAX_DAYS = 400
_ACCOUNTS_AT_ONCE = 32
_COLUMNS = ("requests", "prompt_tokens", "completion_tokens", "cost", "recovered", "open")
_CSV = {
    "content": {"text/csv": {"schema": {"type": "string"}}},
    "headers": {
        "x-next-page": {"schema": {"type": "string"}, "description": "`next` of the CSV form."}
    },
    "description": "A page of usage.",
}


@router.get(
    "/usage",
    response_model=models_out.UsageList,
    responses={200: cast("dict[str, Any]", _CSV)},
    operation_id="listUsage",
)
async def list_usage(query: Annotated[models_in.ListUsage, Query()], services: Shared) -> Any:
    """List usage, from rollups for closed hours and from the ledger for open ones."""
    by = _by(query.by)
    since, until = time_range(query.since, query.until, now=services.now())
    # A token is bound to the times in the query, not to the defaults, which move with the clock.
    times = {"since": query.since and since, "until": query.until and until}
    bound = {"list": "usage", **times, "by": by, "key": query.key, "model": query.model}
    position = await services.position(bound, query.after)
    rows = await in_time(usage(services.table, since=since, until=until, key=query.key))
    rows = [row for row in rows if query.model in {None, row.model}]
    if "owner" in by:
        rows = await _owned(rows, services)
    rows = grouped(rows, by)
    if position is not None:
        rows = [row for row in rows if _place(row) > position]
    page = rows[: query.limit]
    after = None
    if len(rows) > len(page):
        last = page[-1]
        after = await services.token(bound, _place(last))
    if query.format == "csv":
        headers = {} if after is None else {"x-next-page": after}
        return Response(_csv(page, by), media_type="text/csv", headers=headers)
    data = [_row(row, by) for row in page]
    return {
        "since": since,
        "until": until,
        "data": data,
        "has_more": after is not None,
        "next": after,
    }


@router.get(
    "/requests/{request_id}",
    response_model=models_out.LedgerEntry,
    responses=models_out.MISSING,
    operation_id="getRequest",
)
async def get_request(
    request_id: Annotated[
        str, Path(max_length=64, description="As in `x-request-id`, or the id of a response.")
    ],
    services: Shared,
) -> Any:
    """Return a request's ledger item."""
    plain = re.sub("^(req_|chatcmpl-|cmpl-|resp_)", "", request_id)
    try:
        request_time(plain)
    except ValueError:
        message = (
            "This is not a request id. A request id looks like req_06eqw2rxk9jhps6a1m5x8v3d7c."
        )
        raise InvalidRequest(message, param="request_id") from None
    item = await services.table.get(ledger_key(plain))
    if item is None:
        message = (
            "There is no such request in the ledger. It has no request with a wrong key or a wrong "
            "body."
        )
        raise NotFound(message, param="request_id", code="request_not_found")
    return _entry(item)


def _by(text: str) -> tuple[By, ...]:
    allowed = get_args(By)
    names = text.split(",")
    for name in names:
        if name not in allowed or names.count(name) > 1:
            raise InvalidRequest(
                f"'by' must be some of {', '.join(allowed)}, separated by commas.", param="by"
            )
    if len({"hour", "day", "month"} & set(names)) > 1:
        raise InvalidRequest("'by' must not have two of hour, day and month.", param="by")
    return tuple(name for name in allowed if name in names)


def time_range(since: str | None, until: str | None, *, now: float) -> tuple[str, str]:
    """Return the first hour and the hour after the last; by default the last 30 days."""
    end = hour_of(until, "until") if until is not None else hours.following(hours.hour_at(now))
    begin = (
        hour_of(since, "since")
        if since is not None
        else hours.hour_at(now - _DAYS * 86_400)[:10] + "T00"
    )
    if begin >= end:
        raise InvalidRequest("'since' must be before 'until'.", param="since")
    if hours.begins(end) - hours.begins(begin) > _MAX_DAYS * 86_400:
        raise InvalidRequest(
            f"'until' must be at most {_MAX_DAYS} days after 'since'.", param="since"
        )
    return begin, end


def hour_of(text: str, name: str) -> str:
    """Return the hour of a parameter that is an hour or a day. Raises InvalidRequest."""
    hour = f"{text}T00" if len(text) == 10 else text
    try:
        hours.begins(hour)
    except ValueError:
        message = f"'{name}' must be an hour or a day, UTC, such as 2026-11-21T06 or 2026-11-21."
        raise InvalidRequest(message, param=name) from None
    return hour


async def _owned(rows: list[UsageRow], services: Services) -> list[UsageRow]:
    """Return the rows with the owners of their keys, deleted keys included."""
    key_ids = sorted({row.key for row in rows})
    owners: dict[str, str] = {}
    for start in range(0, len(key_ids), _ACCOUNTS_AT_ONCE):
        reads = (
            services.table.get(account_key(key_id))
            for key_id in key_ids[start : start + _ACCOUNTS_AT_ONCE]
        )
        for item in await in_time(asyncio.gather(*reads)):
            if item is not None:
                owners[account_id(item["pk"])] = item["owner"]
    return [replace(row, owner=owners.get(row.key, "")) for row in rows]


def _place(row: UsageRow) -> list[str]:
    return [row.hour, row.owner, row.key, row.model]


def _row(row: UsageRow, by: tuple[By, ...]) -> dict[str, Any]:
    return {
        **asdict(row),
        "hour": row.hour if "hour" in by else None,
        "day": row.hour if "day" in by else None,
        "month": row.hour if "month" in by else None,
        "owner": row.owner if "owner" in by else None,
        "key": row.key if "key" in by else None,
        "model": row.model if "model" in by else None,
        "cost": to_text(row.cost),
    }


def _csv(rows: list[UsageRow], by: tuple[By, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow([*by, *_COLUMNS])
    for row in rows:
        cells = _row(row, by)
        writer.writerow([inert(cells[name]) for name in (*by, *_COLUMNS)])
    return text.getvalue()


def _entry(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"req_{item['sk']}",
        "key": item["key"],
        "model": item["model"],
        "state": item["state"],
        "outcome": item.get("outcome"),
        "finish_reason": item.get("finish_reason"),
        "opened_at": item["opened"],
        "settled_at": item.get("settled"),
        "checkpointed_at": item.get("checkpointed"),
        "prompt_tokens": item.get("prompt_tokens"),
        "continued_prompt_tokens": item.get("continued_prompt_tokens", 0),
        "completion_tokens": item.get("completion_tokens"),
        "cost": to_text(item["cost"]) if "cost" in item else None,
        "reserved_tokens": item["reserved"],
        "reserved_cost": to_text(item["reserved_cost"]),
        **{name: to_text(price) for name, price in Prices.of(item).attributes.items()},
        "ttft_ms": item.get("ttft_ms"),
        "duration_ms": item.get("duration_ms"),
        "recovered": item.get("recovered", False),
    }
