"""What keeps the books right: make rollups again, settle what could not be settled when its time was."""

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
async def rebuild_rollups(given: models_in.Rebuild, services: Shared, who: Caller) -> Any:
    """Make the rollups of some hours again from the ledger. Made again they are the same."""
    since, until = hour_of(given.since, "since"), hour_of(given.until, "until")
    if since >= until:
        raise InvalidRequest("'since' must be before 'until'.", param="since")
    if begins(until) - begins(since) > _MAX_HOURS * 3600:
        raise InvalidRequest(f"At most {_MAX_HOURS} hours are made again at once.", param="until")
    async with services.trail.change(who, "rebuildRollups", asked=given.model_dump()) as made:
        try:
            done = await in_time(rebuild(services.table, since, until))
        except Contended:
            raise Unavailable("Others are making these rollups. Try again.", retry_after=5) from None
        made.after = {"hours": len(done), "changed": sum(rolled.changed for _, rolled in done)}
    return {"data": [{"hour": hour, **asdict(rolled)} for hour, rolled in done]}


@router.post("/replay", response_model=models_out.Replayed, operation_id="replay")
async def replay_lines(given: models_in.Replay, services: Shared, who: Caller) -> Any:
    """Settle what the function logged as `settlement_unsaved`. Doing it again changes nothing."""
    async with services.trail.change(who, "replay", asked={"lines": len(given.lines)}) as made:
        found = asdict(await in_time(replay(services.table, given.lines, now=services.now)))
        made.after = {name: value for name, value in found.items() if isinstance(value, int)}
    return found
