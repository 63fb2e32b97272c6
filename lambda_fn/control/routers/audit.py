"""The endpoint that lists the audit trail."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lambda_fn.aws.attributes import Item
from lambda_fn.control import models_in, models_out
from lambda_fn.control.routers.usage import time_range
from lambda_fn.control.services import Services, Shared, in_time
from lambda_fn.metering import hours

router = APIRouter(tags=["audit"])

_MAX_READ = 5_000
"""The maximum number of entries that one page reads."""


@router.get("/audit", response_model=models_out.AuditList, operation_id="listAudit")
async def list_audit(query: Annotated[models_in.ListAudit, Query()], services: Shared) -> Any:
    """List the operations made through this API and the callers not let in, newest first."""
    since, until = time_range(query.since, query.until, now=services.now())
    # A token is bound to the times in the query, not to the defaults, which move with the clock.
    times = {"since": query.since and since, "until": query.until and until}
    bound = {"list": "audit", **times, "key": query.key, "actor": query.actor}
    position = await services.position(bound, query.after)
    entries, position = await in_time(_page(query, services, since, until, position))
    after = None if position is None else await services.token(bound, position)
    return {"data": [_entry(it) for it in entries], "has_more": after is not None, "next": after}


async def _page(
    query: models_in.ListAudit,
    services: Services,
    since: str,
    until: str,
    position: list[str] | None,
) -> tuple[list[Item], list[str] | None]:
    """Return a page of entries, and the position after it (day and sort key, None at the end)."""
    first, last = hours.begins(since), hours.begins(until)
    entries: list[Item] = []
    read_count = 0
    for day in reversed(hours.days_between(since, until)):
        if position is not None and day > position[0]:
            continue
        before = position[1] if position is not None and day == position[0] else None
        async for place, entry in services.trail.entries(day, before=before):
            if len(entries) == query.limit or read_count == _MAX_READ:
                return entries, position
            read_count += 1
            if first <= entry["at"] < last and _wanted(entry, query):
                entries.append(entry)
            position = [day, place]
    return entries, None


def _wanted(entry: Item, query: models_in.ListAudit) -> bool:
    if query.key not in {None, entry.get("key")}:
        return False
    return query.actor is None or f"{entry['actor']}:".startswith(f"{query.actor}:")


def _entry(item: Item) -> dict[str, Any]:
    optional = ("key", "address", "invocation", "code", "attempts")
    return {
        "id": f"req_{item['request']}",
        **{name: item[name] for name in ("at", "action", "actor")},
        **{name: item.get(name) for name in optional},
        "outcome": "refused" if "attempts" in item else item["outcome"],
        **{name: item.get(name, {}) for name in ("asked", "before", "after")},
    }
