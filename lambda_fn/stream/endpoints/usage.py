"""`GET /v1/usage`: the limits, balances and usage of a key, for its holder.

Limits, balances and totals come from the read that authenticates, and are exact. The rows by day
and model come from the rollups of closed hours, and `complete_until` is the end of the last one. A
call costs one read and one short query a day.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import MeterUnavailable, Query, Table
from lambda_fn.errors import InvalidRequest, Unavailable
from lambda_fn.http.page_tokens import Pages
from lambda_fn.http.responses import json_response
from lambda_fn.metering import hours
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.keys import WATERMARK_KEY
from lambda_fn.metering.money import to_text
from lambda_fn.metering.public_limits import windows
from lambda_fn.reporting.usage_rows import UsageRow, grouped, stored_rows
from lambda_fn.stream.admit import Gate

_DAYS = 7
_MAX_DAYS = 31
_ROWS = 100
_MAX_ROWS = 1000
_PARAMETERS = ("since", "until", "limit", "after")
_AMOUNTS = ("requests", "prompt_tokens", "completion_tokens")
_ROLLED = Query(
    "pk = :pk AND sk = :sk", {f":{name}": value for name, value in WATERMARK_KEY.items()}
)


class KeyUsage:
    """The endpoint `GET /v1/usage`."""

    def __init__(self, table: Table, gate: Gate) -> None:
        """Take the usage table, and the gate that checks keys."""
        self._table = table
        self._gate = gate

    async def __call__(self, request: Request) -> Response:
        """Serve one request."""
        caller = read_key(request.headers, request.scope.get("client"))
        account = await self._gate.check_key(caller)
        now = time.time()
        params = _query(request)
        since, until = _range(params, now)
        limit = _limit(params.get("limit"))
        # A page token is signed with the key's hash, so the token of another key is refused without
        # a read.
        pages, query = (
            Pages(bytes.fromhex(caller.key_hash)),
            {"since": since, "until": params.get("until")},
        )
        position = pages.position(query, params["after"]) if "after" in params else ["", ""]
        try:
            rows, complete_until = await self._rows(caller, since, until)
        except MeterUnavailable:
            raise Unavailable(
                "The usage table does not answer, so usage cannot be read now. Try again.",
                retry_after=5,
            ) from None
        rows = [row for row in rows if [row.hour, row.model] > position]
        page = rows[:limit]
        after = pages.token(query, [page[-1].hour, page[-1].model]) if len(rows) > limit else None
        return json_response(
            {
                "object": "usage",
                **_account(account, now),
                "since": since[:10],
                "until": until,
                "complete_until": complete_until,
                "data": [_row(row) for row in page],
                "has_more": after is not None,
                "next": after,
            }
        )

    async def _rows(
        self, caller: Caller, since: str, until: str
    ) -> tuple[list[UsageRow], str | None]:
        page = await self._table.query(_ROLLED)
        if not page.items:
            return [], None
        rolled: str = page.items[0]["until"]
        end = min(until, rolled)
        found = await stored_rows(self._table, since, end, key=caller.key_id) if since < end else []
        return grouped(found, ("day", "model")), rolled


def _query(request: Request) -> Mapping[str, str]:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in _PARAMETERS:
            raise InvalidRequest(
                f"Unknown parameter '{name[:40]}'. Supported: {', '.join(_PARAMETERS)}.",
                param=name[:40],
            )
        if names.count(name) > 1:
            raise InvalidRequest(f"'{name}' is given twice. Send it once.", param=name)
    return request.query_params


def _range(params: Mapping[str, str], now: float) -> tuple[str, str]:
    """Return the first hour of the range, and the hour after its last one."""
    first = hours.hour_at(now - (_DAYS - 1) * 86_400)[:10]
    since = _day(params["since"], "since") if "since" in params else f"{first}T00"
    until = (
        _day(params["until"], "until") if "until" in params else hours.following(hours.hour_at(now))
    )
    if since >= until:
        raise InvalidRequest("'since' must be before 'until'.", param="since")
    if hours.begins(until) - hours.begins(since) > _MAX_DAYS * 86_400:
        raise InvalidRequest(
            f"The range is too long: at most {_MAX_DAYS} days are returned at once.", param="since"
        )
    return since, until


def _day(text: str, name: str) -> str:
    try:
        if len(text) != 10:
            raise ValueError
        hours.begins(f"{text}T00")
    except ValueError:
        raise InvalidRequest(
            f"'{name}' must be a day, UTC, such as 2026-11-21.", param=name
        ) from None
    return f"{text}T00"


def _limit(text: str | None) -> int:
    if text is None:
        return _ROWS
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= _MAX_ROWS:
        raise InvalidRequest(
            f"'limit' must be a whole number from 1 to {_MAX_ROWS}.", param="limit"
        )
    return int(text)


def _account(account: Account, now: float) -> dict[str, Any]:
    return {
        "key": {
            "id": account.key_id,
            "name": account.name,
            "expires_at": account.expires,
            "models": account.models,
            "networks": account.networks.split() or None,
            "redact": list(account.filters.redact) or None,
            "moderate": "block" if account.filters.blocks else None,
            "old_secret_expires_at": account.old_expires,
        },
        "limits": windows(account, now=now),
        "streams": {"limit": account.limits.max_streams, "running": len(account.in_flight)},
        "totals": {
            **{name: getattr(account, name) for name in _AMOUNTS},
            "cost": to_text(account.cost),
        },
    }


def _row(row: UsageRow) -> dict[str, Any]:
    amounts = {
        name: value
        for name, value in asdict(row).items()
        if name in {*_AMOUNTS, "recovered", "outcomes"}
    }
    return {"day": row.hour[:10], "model": row.model, **amounts, "cost": to_text(row.cost)}
