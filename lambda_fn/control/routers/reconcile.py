"""The endpoints that reconcile: all at once, or in parts of bounded time.

In parts: call `/reconcile/hours` from hour to hour until `done`, and add up its sums by key; then
call `/reconcile/keys` with these sums, some keys at a time. `sluice usage reconcile` does this.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from lambda_fn.control import models_in, models_out
from lambda_fn.control.routers.usage import hour_of
from lambda_fn.control.services import Shared, in_time
from lambda_fn.errors import Unavailable
from lambda_fn.reporting.reconcile import (
    Difference,
    KeyTotals,
    compare_hours,
    compare_keys,
    every_key,
    reconcile,
)

router = APIRouter(tags=["books"])

_PART = 15.0  # seconds after which a part begins no more hours
_MAX_KEYS = 5_000
_MAX_DIFFERENCES = 1_000


@router.post("/reconcile", response_model=models_out.Reconciled, operation_id="reconcile")
async def reconcile_all(services: Shared) -> Any:
    """Compare accounts, ledger and rollups, and name the differences. It reads all of them and
    changes nothing.
    """
    report = await in_time(reconcile(services.table, now=services.now))
    if len(report.keys) > _MAX_KEYS:
        parts = "Reconcile in parts: /reconcile/hours, then /reconcile/keys."
        message = f"There are over {_MAX_KEYS:,} keys. {parts}"
        raise Unavailable(message, code="too_much_at_once")
    return {**_summary(report.differences), "keys": _plain(report.keys), "rolled": report.rolled}


@router.post(
    "/reconcile/hours", response_model=models_out.ReconciledHours, operation_id="reconcileHours"
)
async def reconcile_hours(body: models_in.ReconcileHours, services: Shared) -> Any:
    """Compare ledger and rollups of as many past hours as there is time for. Unless `done`,
    continue at `until`.
    """
    ends = time.monotonic() + _PART
    since = None if body.since is None else hour_of(body.since, "since")
    work = compare_hours(
        services.table, since=since, now=services.now, stop=lambda: time.monotonic() >= ends
    )
    report = await in_time(work)
    keys = _plain([report.keys[key] for key in sorted(report.keys)])
    hours = {name: getattr(report, name) for name in ("since", "until", "done", "rolled")}
    all_keys = await in_time(every_key(services.table)) if report.done else None
    return {**_summary(report.differences), "keys": keys, "every_key": all_keys, **hours}


@router.post("/reconcile/keys", response_model=models_out.Reconciled, operation_id="reconcileKeys")
async def reconcile_keys(body: models_in.ReconcileKeys, services: Shared) -> Any:
    """Compare some accounts with the sums of the body, from before `since`, and the ledger from
    there on.
    """
    past = [
        KeyTotals(key.key, None, dict(key.ledger), dict(key.rollups), key.refused, key.open)
        for key in body.keys
    ]
    since = hour_of(body.since, "since")
    report = await in_time(compare_keys(services.table, past, since=since, now=services.now))
    return {**_summary(report.differences), "keys": _plain(report.keys), "rolled": report.rolled}


def _summary(differences: Sequence[Difference]) -> dict[str, Any]:
    return {
        "agrees": not differences,
        "differences": [asdict(it) for it in differences[:_MAX_DIFFERENCES]],
        "differences_left": max(len(differences) - _MAX_DIFFERENCES, 0),
    }


def _plain(keys: Sequence[KeyTotals]) -> list[dict[str, Any]]:
    return [asdict(it) for it in keys]
