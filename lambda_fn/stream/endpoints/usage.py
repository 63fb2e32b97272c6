"""`GET /v1/usage`: what a key may use, has left and has used, for whoever holds the key.

Limits, what is left and the totals come with the write that authenticates, and are exact to the moment. The rows by day
and model are the rollups of closed hours: `complete_until` says how far. That is one write and a short query a day.
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
_DAYS_MOST = 31
_ROWS = 100
_ROWS_MOST = 1000
_KNOWN = ("since", "until", "limit", "after")
_AMOUNTS = ("requests", "prompt_tokens", "completion_tokens")
_ROLLED = Query("pk = :pk AND sk = :sk", {f":{name}": value for name, value in WATERMARK_KEY.items()})


class OwnUsage:
    """The endpoint."""

    def __init__(self, table: Table, gate: Gate) -> None:
        """Take the usage table, and who checks keys."""
        self._table = table
        self._gate = gate

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        caller = read_key(request.headers, request.scope.get("client"))
        account = await self._gate.check_key(caller)
        now = time.time()
        given = _given(request)
        since, until = _range(given, now)
        limit = _limit(given.get("limit"))
        # The token's secret comes from the key: that of another key is refused without asking anybody.
        pages, query = Pages(bytes.fromhex(caller.key_hash)), {"since": since, "until": given.get("until")}
        behind = pages.position(query, given["after"]) if "after" in given else ["", ""]
        try:
            rows, rolled = await self._rows(caller, since, until)
        except MeterUnavailable:
            raise Unavailable("Usage cannot be read now. Try again.", retry_after=5) from None
        rows = [row for row in rows if [row.hour, row.model] > behind]
        page = rows[:limit]
        after = pages.token(query, [page[-1].hour, page[-1].model]) if len(rows) > limit else None
        return json_response(
            {
                "object": "usage",
                **_account(account, now),
                "since": since[:10],
                "until": until,
                "complete_until": rolled,
                "data": [_row(row) for row in page],
                "has_more": after is not None,
                "next": after,
            }
        )

    async def _rows(self, caller: Caller, since: str, until: str) -> tuple[list[UsageRow], str | None]:
        page = await self._table.query(_ROLLED)
        if not page.items:
            return [], None
        rolled: str = page.items[0]["until"]
        end = min(until, rolled)
        found = await stored_rows(self._table, since, end, key=caller.key_id) if since < end else []
        return grouped(found, ("day", "model")), rolled


def _given(request: Request) -> Mapping[str, str]:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in _KNOWN:
            raise InvalidRequest(
                f"There is no parameter '{name[:40]}'. There are: {', '.join(_KNOWN)}.", param=name[:40]
            )
        if names.count(name) > 1:
            raise InvalidRequest(f"'{name}' is given twice.", param=name)
    return request.query_params


def _range(given: Mapping[str, str], now: float) -> tuple[str, str]:
    """Give the first hour, and the one after the last."""
    first = hours.hour_at(now - (_DAYS - 1) * 86_400)[:10]
    since = _day(given["since"], "since") if "since" in given else f"{first}T00"
    until = _day(given["until"], "until") if "until" in given else hours.following(hours.hour_at(now))
    if since >= until:
        raise InvalidRequest("'since' must be before 'until'.", param="since")
    if hours.begins(until) - hours.begins(since) > _DAYS_MOST * 86_400:
        raise InvalidRequest(f"At most {_DAYS_MOST} days are shown at once.", param="since")
    return since, until


def _day(text: str, name: str) -> str:
    try:
        if len(text) != 10:
            raise ValueError
        hours.begins(f"{text}T00")
    except ValueError:
        raise InvalidRequest(f"'{name}' must be a day, UTC, as 2026-11-21.", param=name) from None
    return f"{text}T00"


def _limit(text: str | None) -> int:
    if text is None:
        return _ROWS
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= _ROWS_MOST:
        raise InvalidRequest(f"'limit' must be a whole number from 1 to {_ROWS_MOST}.", param="limit")
    return int(text)


def _account(account: Account, now: float) -> dict[str, Any]:
    return {
        "key": {
            "id": account.key_id,
            "name": account.name,
            "expires_at": account.expires,
            "models": account.models,
            "networks": account.networks.split() or None,
            "old_secret_expires_at": account.old_expires,
        },
        "limits": windows(account, now=now),
        "streams": {"limit": account.limits.max_streams, "running": len(account.in_flight)},
        "totals": {**{name: getattr(account, name) for name in _AMOUNTS}, "cost": to_text(account.cost)},
    }


def _row(row: UsageRow) -> dict[str, Any]:
    amounts = {name: value for name, value in asdict(row).items() if name in {*_AMOUNTS, "recovered", "outcomes"}}
    return {"day": row.hour[:10], "model": row.model, **amounts, "cost": to_text(row.cost)}
