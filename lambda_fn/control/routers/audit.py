"""The audit trail, read."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lambda_fn.aws.attributes import Item
from lambda_fn.control import models_in, models_out
from lambda_fn.control.routers.usage import time_range
from lambda_fn.control.services import Services, Shared, in_time
from lambda_fn.metering import hours

router = APIRouter(tags=["audit"])

_MAX_READ = 5_000


@router.get("/audit", response_model=models_out.AuditList, operation_id="listAudit")
async def list_audit(asked: Annotated[models_in.ListAudit, Query()], services: Shared) -> Any:
    """List what was done through this API, and who was not let in, the newest first."""
    since, until = time_range(asked.since, asked.until, now=services.now())
    # Bound to what was asked, not to when: what is left out moves on with the clock.
    times = {"since": asked.since and since, "until": asked.until and until}
    query = {"list": "audit", **times, "key": asked.key, "actor": asked.actor}
    behind = await services.position(query, asked.after)
    found, position = await in_time(_page(asked, services, since, until, behind))
    after = None if position is None else await services.token(query, position)
    return {"data": [_entry(it) for it in found], "has_more": after is not None, "next": after}


async def _page(
    asked: models_in.ListAudit, services: Services, since: str, until: str, behind: list[str] | None
) -> tuple[list[Item], list[str] | None]:
    """Give a page of entries, and where the next one goes on behind: a day and a position in it."""
    first, last = hours.begins(since), hours.begins(until)
    found: list[Item] = []
    looked = 0
    for day in reversed(hours.days_between(since, until)):
        if behind is not None and day > behind[0]:
            continue
        before = behind[1] if behind is not None and day == behind[0] else None
        async for place, entry in services.trail.entries(day, before=before):
            if len(found) == asked.limit or looked == _MAX_READ:
                return found, behind
            looked += 1
            if first <= entry["at"] < last and _wanted(entry, asked):
                found.append(entry)
            behind = [day, place]
    return found, None


def _wanted(entry: Item, asked: models_in.ListAudit) -> bool:
    if asked.key not in {None, entry.get("key")}:
        return False
    return asked.actor is None or f"{entry['actor']}:".startswith(f"{asked.actor}:")


def _entry(item: Item) -> dict[str, Any]:
    optional = ("key", "address", "invocation", "code", "attempts")
    return {
        "id": f"req_{item['request']}",
        **{name: item[name] for name in ("at", "action", "actor")},
        **{name: item.get(name) for name in optional},
        "outcome": "refused" if "attempts" in item else item["outcome"],
        **{name: item.get(name, {}) for name in ("asked", "before", "after")},
    }
