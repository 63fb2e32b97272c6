"""Reconcile: all at once where there is little, or by parts, of which none takes long.

By parts: `/reconcile/hours` from hour to hour until `done`, whose sums by key are added up by the caller; then
`/reconcile/keys` with these sums, some keys at a time, until all are compared. `sluice usage reconcile` does it so.
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
from lambda_fn.reporting.reconcile import Difference, KeyTotals, compare_hours, compare_keys, every_key, reconcile

router = APIRouter(tags=["books"])

_PART = 15.0  # seconds after which a part takes up no more hours
_MAX_KEYS = 5_000
_MAX_DIFFERENCES = 1_000


@router.post("/reconcile", response_model=models_out.Reconciled, operation_id="reconcile")
async def reconcile_all(services: Shared) -> Any:
    """Compare accounts, ledger and rollups, and name differences. It reads all of them; nothing is changed."""
    report = await in_time(reconcile(services.table, now=services.now))
    if len(report.keys) > _MAX_KEYS:
        message = f"There are over {_MAX_KEYS:,} keys. Reconcile by parts: /reconcile/hours, then /reconcile/keys."
        raise Unavailable(message, code="too_much_at_once")
    return {**_found(report.differences), "keys": _plain(report.keys), "rolled": report.rolled}


@router.post("/reconcile/hours", response_model=models_out.ReconciledHours, operation_id="reconcileHours")
async def reconcile_hours(given: models_in.ReconcileHours, services: Shared) -> Any:
    """Compare ledger and rollups of the past, as many hours as there is time for; go on at `until` unless `done`."""
    ends = time.monotonic() + _PART
    since = None if given.since is None else hour_of(given.since, "since")
    work = compare_hours(services.table, since=since, now=services.now, stop=lambda: time.monotonic() >= ends)
    report = await in_time(work)
    keys = _plain([report.keys[key] for key in sorted(report.keys)])
    hours = {name: getattr(report, name) for name in ("since", "until", "done", "rolled")}
    every = await in_time(every_key(services.table)) if report.done else None
    return {**_found(report.differences), "keys": keys, "every_key": every, **hours}


@router.post("/reconcile/keys", response_model=models_out.Reconciled, operation_id="reconcileKeys")
async def reconcile_keys(given: models_in.ReconcileKeys, services: Shared) -> Any:
    """Compare some accounts with what the ledger had before `since`, as given, and what it has from there on."""
    past = [KeyTotals(one.key, None, dict(one.ledger), dict(one.rollups), one.refused, one.open) for one in given.keys]
    since = hour_of(given.since, "since")
    report = await in_time(compare_keys(services.table, past, since=since, now=services.now))
    return {**_found(report.differences), "keys": _plain(report.keys), "rolled": report.rolled}


def _found(differences: Sequence[Difference]) -> dict[str, Any]:
    return {
        "agrees": not differences,
        "differences": [asdict(it) for it in differences[:_MAX_DIFFERENCES]],
        "differences_left": max(len(differences) - _MAX_DIFFERENCES, 0),
    }


def _plain(keys: Sequence[KeyTotals]) -> list[dict[str, Any]]:
    return [asdict(it) for it in keys]
