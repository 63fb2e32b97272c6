"""The endpoints about kept responses: what there is, without content, and its deletion.

They read the index of StreamTable, which has no content, and the ledger. So the admin API's role
needs no right to read a response. Operators read content with their own rights in AWS
(`sluice responses export`).
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.control import models_in, models_out
from lambda_fn.control.services import Caller, Services, Shared
from lambda_fn.errors import InvalidRequest, NotFound
from lambda_fn.ids import is_request_id
from lambda_fn.metering import ledger
from lambda_fn.metering.keys import ledger_key
from lambda_fn.stream_log.keys import head_key, response_id
from lambda_fn.stream_log.listing import Listing, NoSuchPosition, find, read_page
from lambda_fn.stream_log.removal import hide

router = APIRouter(tags=["responses"])

ResponseId = Annotated[
    str,
    Path(
        pattern="^[A-Za-z0-9_-]{26,60}$",
        description="The value of `x-sluice-stream`, or an answer's id.",
    ),
]
_RUNNING = ("queued", "in_progress")


@router.get("/responses", response_model=models_out.ResponseList, operation_id="listResponses")
async def list_responses(
    query: Annotated[models_in.ListResponses, Query()], services: Shared
) -> Any:
    """List a key's kept responses, newest first, without their content."""
    listing = Listing(
        owner=query.key,
        limit=query.limit,
        after=query.after,
        status=query.status,
        since=query.since,
    )
    try:
        page = await read_page(stream_table(services), listing)
    except NoSuchPosition:
        raise InvalidRequest(
            "'after' must be the 'next' of the preceding page, whose responses still exist.",
            param="after",
            code="invalid_page_token",
        ) from None
    return {
        "data": [_shown(item) for item in page.items],
        "has_more": page.has_more,
        "next": page.last_id if page.has_more else None,
    }


@router.get(
    "/responses/{response}",
    response_model=models_out.KeptResponse,
    responses=models_out.MISSING,
    operation_id="getResponse",
)
async def get_response(response: ResponseId, services: Shared) -> Any:
    """Return a kept response, without its content."""
    return _shown(await _found(response, services))


@router.post(
    "/responses/{response}/cancel",
    response_model=models_out.Cancelling,
    responses=models_out.MISSING,
    operation_id="cancelResponse",
)
async def cancel_response(response: ResponseId, services: Shared, caller: Caller) -> Any:
    """Ask the function of a running response, kept or not, to end it. It does within 5 seconds."""
    name = response_id(response)
    item = await services.table.get(ledger_key(name)) if is_request_id(name) else None
    if item is None:
        raise _missing(response)
    fields = {"response": name}
    async with services.trail.change(
        caller, "cancelResponse", key=item["key"], fields=fields
    ) as record:
        running = item["state"] == "OPEN"
        if running:
            try:
                update = ledger.cancel(name, key_id=None, now=services.now())
                await services.table.update(update)
            except ConditionFailed:
                running = False  # it has ended meanwhile
        record.after = {"cancelling": running}
    return {"id": name, "cancelling": running}


@router.delete(
    "/responses/{response}",
    response_model=models_out.DeletedResponse,
    responses=models_out.MISSING,
    operation_id="deleteResponse",
)
async def delete_response(response: ResponseId, services: Shared, caller: Caller) -> Any:
    """Delete a kept response that has ended. It is hidden at once, and the sweeper removes its
    items within minutes; `sluice responses delete` removes them itself.
    """
    item = await _found(response, services)
    name = response_id(response)
    async with services.trail.change(
        caller, "deleteResponse", key=item["owner"], fields={"response": name}
    ):
        update = hide(
            head_key(name),
            now=int(services.now()),
            condition="attribute_exists(pk) AND NOT #status IN (:queued, :running)",
            names={"#status": "status"},
            values={":queued": _RUNNING[0], ":running": _RUNNING[1]},
        )
        try:
            await stream_table(services).update(update)
        except ConditionFailed as failed:
            if failed.item is None:
                raise _missing(response) from None
            raise InvalidRequest(
                "This response is still running. Cancel it first.", code="response_in_progress"
            ) from None
    return {"id": name}


async def _found(response: str, services: Services) -> dict[str, Any]:
    """Return what the index has of a response. Its ledger item says whose it is."""
    name = response_id(response)
    item = await services.table.get(ledger_key(name)) if is_request_id(name) else None
    found = None if item is None else await find(stream_table(services), item["key"], name)
    if found is None or "deleted" in found or found["expires"] <= services.now():
        raise _missing(response)
    return found


def stream_table(services: Services) -> Table:
    """Return StreamTable. Raises NotFound if nothing is kept."""
    if services.streams is None:
        raise NotFound(
            "This deployment keeps no responses: its setting 'persistence' is 'off'.",
            code="response_not_found",
        )
    return services.streams


def _missing(response: str) -> NotFound:
    return NotFound(
        f"There is no response '{response}'. It was not kept, was deleted, or has expired.",
        param="response",
        code="response_not_found",
    )


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": item["pk"].removeprefix("R#"),
        "key": item["owner"],
        "created_at": item["created"],
        "model": item["model"],
        "form": item["form"],
        "status": item["status"],
        "streamable": item["kept"] == "segments",
        "expires_at": item["expires"],
        "metadata": item.get("metadata", {}),
    }
