"""`/v1/conversations`: OpenAI's conversations and their items.

    POST   /v1/conversations                     a new one, with up to 20 items
    GET    /v1/conversations/{id}
    POST   /v1/conversations/{id}                other metadata
    DELETE /v1/conversations/{id}                gone at once, with its items
    POST   /v1/conversations/{id}/items          up to 20 more items
    GET    /v1/conversations/{id}/items          a page of them, the newest first
    GET    /v1/conversations/{id}/items/{item}
    DELETE /v1/conversations/{id}/items/{item}

A conversation is locked while a response of it runs. OpenAI answers a second writer with a 400 and
the code `conversation_locked`, and so does this.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.errors import NotFound
from lambda_fn.http.pages import asked_page, ids_of, list_object, parameters
from lambda_fn.http.responses import json_response, read_body
from lambda_fn.ids import is_request_id, new_request_id
from lambda_fn.recall.deletion import removed
from lambda_fn.schema.responses.conversations import parse_items, parse_metadata, parse_new
from lambda_fn.schema.responses.listed import listed
from lambda_fn.seals import Seals
from lambda_fn.settings import Settings
from lambda_fn.stream.carrier import in_background
from lambda_fn.stream.conversing import ERRORS, conversation_error, no_conversation
from lambda_fn.stream_log.conversations import Conversation, Conversations, Gone, Locked
from lambda_fn.stream_log.keys import conversation_id, conversation_key, conversations_of
from lambda_fn.stream_log.removal import hide

MAX_PAGE_BYTES = 4_000_000
"""Bytes of a page of items after which it ends. It has one item at least."""
_ATTEMPTS = 8
"""How often a change is attempted while another call changes the same conversation."""
T = TypeVar("T")


class ConversationCalls:
    """The endpoints."""

    def __init__(self, settings: Settings, table: Table) -> None:
        """Take the settings and StreamTable."""
        self._table = table
        self._max_body = settings.max_body
        self._secrets = settings.origin_secrets
        self._kept = Conversations(table, days=settings.response_days)

    async def create(self, request: Request, caller: Caller, send: Send) -> Response:
        """Make a conversation."""
        parameters(request)
        items, metadata = parse_new(await self._body(request), self._unseal(caller))
        name = new_request_id()
        made = await _public(
            name,
            self._kept.create(name, caller.key_id, listed(items, name, own_ids=False), metadata),
        )
        return json_response(_shown(made))

    def _unseal(self, caller: Caller) -> Callable[[str], str]:
        return Seals(self._secrets, caller.key_id).open

    async def get(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return a conversation."""
        parameters(request)
        name = _name(request)
        return json_response(_shown(await _public(name, self._kept.read(name, caller.key_id))))

    async def update(self, request: Request, caller: Caller, send: Send) -> Response:
        """Replace the metadata of a conversation, and return it."""
        parameters(request)
        name, metadata = _name(request), parse_metadata(await self._body(request))
        return json_response(
            _shown(await _public(name, self._kept.update(name, caller.key_id, metadata)))
        )

    async def delete(self, request: Request, caller: Caller, send: Send) -> Response:
        """Delete a conversation with all of its items."""
        parameters(request)
        name, now = _name(request), int(time.time())
        await _public(name, self._hide(name, caller.key_id, now))
        in_background(request.scope, removed(self._table, conversation_key(name), now))
        return json_response(
            {"id": f"conv_{name}", "object": "conversation.deleted", "deleted": True}
        )

    async def add(self, request: Request, caller: Caller, send: Send) -> Response:
        """Append items, and return them."""
        parameters(request, ignored=("include", "include[]"))
        name = _name(request)
        sent = parse_items(await self._body(request), self._unseal(caller))
        items = listed(sent, new_request_id(), own_ids=False)
        await _public(name, _patiently(lambda: self._kept.add(name, caller.key_id, items)))
        return json_response(list_object(items, [item["id"] for item in items], has_more=False))

    async def items(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return a page of items."""
        asked = asked_page(request, "include", "include[]")
        name = _name(request)
        await _public(name, self._kept.read(name, caller.key_id))
        places = await _public(name, self._kept.places(name))
        ids, more = ids_of([item_id for _, names in places for item_id in names], asked)
        place_of = {item_id: place for place, names in places for item_id in names}
        data, size, entry = [], 0, None
        for item_id in ids:
            if size > MAX_PAGE_BYTES:
                more = True
                break
            if entry is None or entry.place != place_of[item_id]:
                entry = await _public(name, self._kept.entry(name, place_of[item_id]))
            if item_id in entry.ids:  # it may have been deleted meanwhile
                data.append((item_id, entry.items[entry.ids.index(item_id)]))
                size += len(data[-1][1])
        return json_response(
            list_object([raw for _, raw in data], [item_id for item_id, _ in data], has_more=more)
        )

    async def item(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return an item."""
        parameters(request, ignored=("include", "include[]"))
        name, item_id = _name(request), request.path_params["item"]
        await _public(name, self._kept.read(name, caller.key_id))
        for place, names in await _public(name, self._kept.places(name)):
            if item_id in names:
                entry = await _public(name, self._kept.entry(name, place))
                if item_id in entry.ids:
                    return json_response(entry.items[entry.ids.index(item_id)])
        raise _no_item(item_id)

    async def delete_item(self, request: Request, caller: Caller, send: Send) -> Response:
        """Delete an item, and return its conversation."""
        parameters(request)
        name, item_id = _name(request), request.path_params["item"]
        found = await _public(name, self._kept.read(name, caller.key_id))
        try:
            await _public(name, _patiently(lambda: self._kept.remove(name, caller.key_id, item_id)))
        except NotFound:
            raise _no_item(item_id) from None
        return json_response(_shown(found))

    async def _hide(self, name: str, key_id: str, now: int) -> None:
        await self._kept.read(name, key_id)
        update = hide(
            conversation_key(name),
            now=now,
            condition="#owner = :owner",
            values={":owner": conversations_of(key_id)},
        )
        try:
            await self._table.update(update)
        except ConditionFailed:
            raise Gone from None

    async def _body(self, request: Request) -> bytes:
        headers: dict[str, str] = request.scope["sluice.request_headers"]
        return await read_body(request.receive, headers, max_bytes=self._max_body)


async def _public(name: str, work: Awaitable[T]) -> T:
    """Await a call about a conversation, and raise its errors as public ones.

    Raises:
        APIError: the public error, if it does not succeed.

    """
    try:
        return await work
    except ERRORS as error:
        raise conversation_error(error, name) from None


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a change, attempted again while another call changes the same.

    Such a call takes some writes. A response holds the conversation longer, so it is not waited
    for. Raises Locked.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await work()
        except Locked:
            await asyncio.sleep(random.uniform(0.02, 0.2))  # noqa: S311 (spreads load, hides nothing)
    return await work()


def _name(request: Request) -> str:
    public_id: str = request.path_params["id"]
    name = conversation_id(public_id)
    if not is_request_id(name):
        raise no_conversation(public_id)
    return name


def _shown(found: Conversation) -> dict[str, Any]:
    return {
        "id": f"conv_{found.id}",
        "object": "conversation",
        "created_at": found.created,
        "metadata": found.metadata or {},
    }


def _no_item(item_id: str) -> NotFound:
    return NotFound(
        f"Item with id '{item_id[:80]}' not found in this conversation.",
        param="item_id",
        code="item_not_found",
    )
