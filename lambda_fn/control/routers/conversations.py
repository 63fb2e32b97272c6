"""The endpoints about conversations: what there is, without items, and their deletion.

They read the index of StreamTable, which has no items (`routers.responses`).
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from lambda_fn.aws.dynamodb import ConditionFailed
from lambda_fn.aws.dynamodb import Query as TableQuery
from lambda_fn.control import models_in, models_out
from lambda_fn.control.routers.responses import stream_table
from lambda_fn.control.services import Caller, Shared
from lambda_fn.errors import NotFound
from lambda_fn.stream_log.keys import (
    OWNERS_INDEX,
    OWNERS_INDEX_KEY,
    conversation_id,
    conversation_key,
    conversations_of,
)
from lambda_fn.stream_log.removal import hide

router = APIRouter(tags=["responses"])

ConversationId = Annotated[
    str, Path(pattern="^(conv_)?[0-9a-z]{26}$", description="The conversation's id.")
]


@router.get(
    "/conversations",
    response_model=models_out.ConversationList,
    responses=models_out.MISSING,
    operation_id="listConversations",
)
async def list_conversations(
    query: Annotated[models_in.ListConversations, Query()], services: Shared
) -> Any:
    """List a key's conversations, newest first, without their items."""
    table = stream_table(services)
    bound = {"list": "conversations", "key": query.key, "since": query.since}
    listed = TableQuery(
        "#owner = :owner AND created >= :since",
        {":owner": conversations_of(query.key), ":since": query.since},
        {"#owner": "owner"},
        index=OWNERS_INDEX,
        backward=True,
        limit=query.limit,
    )
    page = await table.query(listed, after=await services.position(bound, query.after))
    after = None
    if page.after is not None:
        position = {name: page.after[name] for name in ("pk", "sk", *OWNERS_INDEX_KEY)}
        after = await services.token(bound, position)
    now = services.now()
    return {
        "data": [
            {
                "id": it["pk"].removeprefix("V#"),
                "key": query.key,
                "created_at": it["created"],
                "expires_at": it["expires"],
                "metadata": it.get("metadata", {}),
            }
            for it in page.items
            if it["expires"] > now
        ],
        "has_more": after is not None,
        "next": after,
    }


@router.delete(
    "/conversations/{conversation}",
    response_model=models_out.DeletedConversation,
    responses=models_out.MISSING,
    operation_id="deleteConversation",
)
async def delete_conversation(
    conversation: ConversationId,
    query: Annotated[models_in.ConversationOwner, Query()],
    services: Shared,
    caller: Caller,
) -> Any:
    """Delete a key's conversation. It is hidden at once, and the sweeper removes its items within
    minutes; `sluice responses delete` removes them itself.
    """
    table, name = stream_table(services), conversation_id(conversation)
    async with services.trail.change(
        caller, "deleteConversation", key=query.key, fields={"conversation": name}
    ):
        update = hide(
            conversation_key(name),
            now=int(services.now()),
            condition="#owner = :owner",
            values={":owner": conversations_of(query.key)},
        )
        try:
            await table.update(update)
        except ConditionFailed:
            raise NotFound(
                f"The key has no conversation '{conversation}'. It was deleted, or has expired.",
                param="conversation",
                code="conversation_not_found",
            ) from None
    return {"id": name}
