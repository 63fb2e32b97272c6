"""Chat completions that were stored: what they are as JSON, and their list.

`GET /v1/chat/completions` shares its path with the request for a completion, so the stream function
answers it. The recall function has the other calls (`recall.chats`).
"""

import re
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.auth import read_key
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.encode.chat_body import ChatBody
from lambda_fn.errors import InvalidRequest, Unavailable
from lambda_fn.http.pages import (
    MAX_PAGE,
    PAGE,
    list_object,
    no_position,
    parameters,
    whole_number,
)
from lambda_fn.http.responses import json_response
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.rate_limit_errors import rate_headers
from lambda_fn.stream.request_count import count_request
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.keys import UnknownVersion, response_id
from lambda_fn.stream_log.listing import Listing, ListPage, NoSuchPosition, read_page
from lambda_fn.stream_log.results import Kept, read_many

MAX_PAGE_BYTES = 4_000_000
"""Bytes of a page after which it ends. It has one completion at least, if there is one."""
_AT_ONCE = 4
_METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class StoredChats:
    """The endpoint `GET /v1/chat/completions`."""

    def __init__(self, table: Table, streams: Table, gate: Gate) -> None:
        """Take the usage table, StreamTable, and the gate that checks keys."""
        self._table = table
        self._streams = streams
        self._gate = gate

    async def __call__(self, request: Request) -> Response:
        """Return a page of the stored completions of a key, the oldest first by default."""
        caller = read_key(request.headers, request.scope.get("client"))
        account = await self._gate.check_key(caller)
        now = time.time()
        headers = rate_headers(await count_request(self._table, account, now), when=now, now=now)
        request.scope["sluice.response_headers"] = {**headers, "cache-control": "no-store"}
        page = await self._page(_listing(request, caller.key_id))
        data, more = await self._read([item["pk"].removeprefix("R#") for item in page.items])
        ids = [f"chatcmpl-{name}" for name, _ in data]
        return json_response(
            list_object([chat for _, chat in data], ids, has_more=more or page.has_more)
        )

    async def _page(self, listing: Listing) -> ListPage:
        try:
            return await read_page(self._streams, listing)
        except NoSuchPosition:
            raise no_position(
                "'after' must be the id of a stored completion. Begin the list again."
            ) from None
        except MeterUnavailable:
            raise _unavailable() from None

    async def _read(self, names: list[str]) -> tuple[list[tuple[str, msgspec.Raw]], bool]:
        """Return completions by their ids, and whether some did not fit into the page.

        Those that were deleted meanwhile are left out.
        """
        data: list[tuple[str, msgspec.Raw]] = []
        size = 0
        try:
            for first in range(0, len(names), _AT_ONCE):
                if size > MAX_PAGE_BYTES:
                    return data, True
                some = names[first : first + _AT_ONCE]
                for name, kept in zip(
                    some, await read_many(self._streams, some, now=time.time()), strict=True
                ):
                    if kept is not None:
                        data.append((name, chat_of(kept)))
                        size += len(data[-1][1])
        except (MeterUnavailable, Incomplete, UnknownVersion):
            raise _unavailable() from None
        return data, False


def chat_of(kept: Kept) -> msgspec.Raw:
    """Return a stored completion as one that was not streamed, with its metadata."""
    head = msgspec.structs.replace(kept.head.head, form="chat_body")
    fields: dict[str, Any] = {**_members.decode(ChatBody(head).encode(kept.whole))}
    return msgspec.Raw(msgspec.json.encode(fields | {"metadata": kept.head.metadata or {}}))


def _listing(request: Request, key_id: str) -> Listing:
    """Return what a list asks for. Raises InvalidRequest."""
    metadata: dict[str, str] = {}
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if match := _METADATA.fullmatch(name):
            metadata[match[1]] = request.query_params[name]
    filters = tuple(f"metadata[{name}]" for name in metadata)
    params = parameters(request, "limit", "after", "order", "model", *filters)
    order = params.get("order", "asc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be one of asc, desc.", param="order")
    return Listing(
        owner=key_id,
        limit=whole_number(params.get("limit", str(PAGE)), "limit", 1, MAX_PAGE),
        after=response_id(params["after"]) if "after" in params else None,
        backward=order == "desc",
        model=params.get("model"),
        stored_chats=True,
        metadata=metadata,
    )


def _unavailable() -> Unavailable:
    return Unavailable("The table of kept responses does not answer. Try again.", retry_after=5)
