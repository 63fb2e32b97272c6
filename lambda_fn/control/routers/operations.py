"""The endpoints that make rollups again, and replay settlements that were only logged."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from lambda_fn.control import models_in, models_out
from lambda_fn.control.routers.usage import hour_of
from lambda_fn.control.services import Caller, Shared, in_time
from lambda_fn.errors import InvalidRequest, Unavailable
from lambda_fn.metering.hours import begins
from lambda_fn.reporting.replay import replay
from lambda_fn.reporting.rollups import Contended, rebuild

router = APIRouter(tags=["books"])

_MAX_HOURS = 31 * 24


@router.post("/rollups/rebuild", response_model=models_out.Rebuilt, operation_id="rebuildRollups")
async def rebuild_rollups(body: models_in.Rebuild, services: Shared, caller: Caller) -> Any:
    """Make the rollups of some hours again from the ledger. Correct rollups stay the same."""
    since, until = hour_of(body.since, "since"), hour_of(body.until, "until")
    if since >= until:
        raise InvalidRequest("'since' must be before 'until'.", param="since")
    if begins(until) - begins(since) > _MAX_HOURS * 3600:
        raise InvalidRequest(f"At most {_MAX_HOURS} hours are made again at once.", param="until")
    async with services.trail.change(caller, "rebuildRollups", fields=body.model_dump()) as record:
        try:
            rollups = await in_time(rebuild(services.table, since, until))
        except Contended:
            raise Unavailable(
                "Other processes are making these rollups. Try again.", retry_after=5
            ) from None
        record.after = {
            "hours": len(rollups),
            "changed": sum(rollup.changed for _, rollup in rollups),
        }
    return {"data": [{"hour": hour, **asdict(rollup)} for hour, rollup in rollups]}


@router.post("/replay", response_model=models_out.Replayed, operation_id="replay")
async def replay_lines(body: models_in.Replay, services: Shared, caller: Caller) -> Any:
    """Settle what the function logged as `settlement_unsaved`. Repeating it changes nothing."""
    async with services.trail.change(caller, "replay", fields={"lines": len(body.lines)}) as record:
        result = asdict(await in_time(replay(services.table, body.lines, now=services.now)))
        record.after = {name: value for name, value in result.items() if isinstance(value, int)}
    return result
