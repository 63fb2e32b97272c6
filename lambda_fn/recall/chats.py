"""`/v1/chat/completions/{id}`: OpenAI's calls for chat completions that were stored.

    GET    /v1/chat/completions/{id}            the completion
    POST   /v1/chat/completions/{id}            other metadata
    DELETE /v1/chat/completions/{id}            gone at once
    GET    /v1/chat/completions/{id}/messages   the messages of its request

Only a completion whose request had `store: true` is found, once it has ended. The stream function
answers the list, which shares its path with the request for a completion.
"""

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table, Update
from lambda_fn.http.pages import asked_page, page_of, parameters
from lambda_fn.http.responses import json_response, read_body
from lambda_fn.recall.deletion import delete
from lambda_fn.recall.stored import Stored, not_found, public_error
from lambda_fn.schema.responses.conversations import parse_metadata
from lambda_fn.stream.carrier import in_background
from lambda_fn.stream.endpoints.stored_chats import chat_of
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.keys import UnknownVersion, head_key
from lambda_fn.stream_log.results import Kept, read_kept

MAX_BODY = 100_000
"""Bytes of a body. Metadata have at most 16 pairs of 64 and 512 characters."""
_ENDED = ("completed", "incomplete")
_message = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Chats:
    """The endpoints."""

    def __init__(self, stored: Stored) -> None:
        """Take what finds responses."""
        self._stored = stored

    async def get(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return a completion."""
        parameters(request)
        return json_response(chat_of(await self._read(await self._find(request, caller))))

    async def update(self, request: Request, caller: Caller, send: Send) -> Response:
        """Replace the metadata of a completion, and return it."""
        parameters(request)
        headers: dict[str, str] = request.scope["sluice.request_headers"]
        metadata = parse_metadata(await read_body(request.receive, headers, max_bytes=MAX_BODY))
        head = await self._find(request, caller)
        await _set(self._stored.table, head.response_id, metadata)
        return json_response(chat_of(await self._read(head)))

    async def messages(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return a page of the messages that the completion answers."""
        asked = asked_page(request, order="asc")
        kept = await self._read(await self._find(request, caller))
        return json_response(page_of(messages_of(kept), asked))

    async def delete(self, request: Request, caller: Caller, send: Send) -> Response:
        """Delete a completion."""
        parameters(request)
        head = await self._find(request, caller)
        in_background(request.scope, await delete(self._stored.table, head))
        content = {
            "id": f"chatcmpl-{head.response_id}",
            "object": "chat.completion.deleted",
            "deleted": True,
        }
        return json_response(content)

    async def _find(self, request: Request, caller: Caller) -> StoredHead:
        public_id: str = request.path_params["id"]
        head = await self._stored.find(public_id, caller.key_id)
        if not head.chat or head.status not in _ENDED:
            raise not_found(public_id)
        return head

    async def _read(self, head: StoredHead) -> Kept:
        try:
            kept = await read_kept(self._stored.table, head.response_id, now=time.time())
        except (MeterUnavailable, UnknownVersion, Incomplete) as error:
            raise public_error(error, head.response_id) from None
        if kept is None:
            raise not_found(head.response_id)
        return kept


async def _set(table: Table, name: str, metadata: dict[str, str]) -> None:
    """Replace the metadata of a response. Raises NotFound and Unavailable."""
    update = Update(
        head_key(name),
        update="SET metadata = :metadata",
        condition="attribute_exists(pk) AND attribute_not_exists(deleted)",
        values={":metadata": metadata},
    )
    try:
        await table.update(update)
    except ConditionFailed:
        raise not_found(name) from None
    except MeterUnavailable as error:
        raise public_error(error, name) from None


def messages_of(kept: Kept) -> list[dict[str, Any]]:
    """Return the messages of a stored request, each with an id.

    Content in parts is also in `content_parts`, as at OpenAI.
    """
    found: list[dict[str, Any]] = []
    for number, raw in enumerate(kept.input.items):
        message: dict[str, Any] = {**_message.decode(raw)}
        content = message.get("content", msgspec.Raw(b"null"))
        parts = content if bytes(content).startswith(b"[") else None
        message["id"] = f"chatcmpl-{kept.head.response_id}-{number}"
        message["content"] = _text(content) if parts is not None else content
        message["content_parts"] = parts
        message.setdefault("name", None)
        found.append(message)
    return found


class _Part(msgspec.Struct):
    text: msgspec.Raw = msgspec.Raw(b"null")
    """What is no text has not been read: only parts of some types have one."""


_parts = msgspec.json.Decoder(list[_Part | str])
"""Content parts. Some clients send texts in place of parts (`schema.lenient`)."""


def _text(parts: msgspec.Raw) -> str | None:
    """Return the texts of content parts, None without one."""
    texts: list[str] = []
    for part in _parts.decode(parts):
        if isinstance(part, str):
            texts.append(part)
        elif bytes(part.text).startswith(b'"'):
            texts.append(msgspec.json.decode(part.text, type=str))
    return "\n".join(texts) if texts else None
