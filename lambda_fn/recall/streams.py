"""`/v1/sluice/streams`: any response that is kept, in its own form.

    GET  /v1/sluice/streams                        what the key has, by the sparse index
    GET  /v1/sluice/streams/{id}?starting_after=k  the stream, from behind the wire number k
    GET  /v1/sluice/streams/{id}?wait=20           its state, once it has ended or time is over
    POST /v1/sluice/streams/{id}/cancel            any response of the key that runs
    DELETE /v1/sluice/streams/{id}                 gone at once

The id is the one in the header `x-sluice-stream` of the request that made the response, or the `id`
in its body.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.errors import InvalidRequest, encode_json
from lambda_fn.http.pages import no_position, parameters, whole_number
from lambda_fn.http.responses import json_response
from lambda_fn.ids import request_time
from lambda_fn.recall.cancelling import Cancelling
from lambda_fn.recall.deletion import delete
from lambda_fn.recall.stored import MAX_WAIT, Stored, public_error
from lambda_fn.settings import Settings
from lambda_fn.stream.carrier import in_background, seconds_left
from lambda_fn.stream.resume import resume
from lambda_fn.stream.sinks import AsgiSink
from lambda_fn.stream_log.heads import FINAL, StoredHead
from lambda_fn.stream_log.keys import response_id
from lambda_fn.stream_log.listing import Listing, ListPage, NoSuchPosition, read_page
from lambda_fn.stream_log.readers import Readers

_OUTCOMES = {
    "complete": "completed",
    "cut": "failed",
    "failed": "failed",
    "cancelled": "cancelled",
    "refused": "failed",
}
"""The outcomes of the ledger as statuses of a response."""
_STATUSES = ("queued", "in_progress", *sorted(FINAL))
_MAX_PAGE = 100
_PAGE = 20


class Streams:
    """The endpoints."""

    def __init__(
        self, settings: Settings, stored: Stored, cancelling: Cancelling, readers: Readers
    ) -> None:
        """Take the settings, the responses, what cancels them, and what bounds their readers."""
        self._settings = settings
        self._stored = stored
        self._cancelling = cancelling
        self._readers = readers

    async def get(self, request: Request, caller: Caller, send: Send) -> Response | None:
        """Send a response as it was or is streamed, or return its state."""
        params = parameters(request, "starting_after", "wait")
        public_id: str = request.path_params["id"]
        if "wait" in params:
            if "starting_after" in params:
                raise InvalidRequest(
                    "'wait' returns the state of the response, and 'starting_after' its stream. "
                    "Send one of them.",
                    param="wait",
                )
            seconds = whole_number(params["wait"], "wait", maximum=MAX_WAIT)
            head = await self._stored.find(public_id, caller.key_id)
            async with self._readers.following(head, seconds):
                head = await self._stored.wait(head, seconds)
            return json_response(state_of(head, await self._cancelling.billed(head)))
        after = starting_after(params, request.headers)
        head = await self._stored.find(public_id, caller.key_id)
        left = seconds_left(request.scope)
        async with self._readers.following(head, left):
            await resume(
                *(self._stored.table, head, after, AsgiSink(send)),
                seconds=left,
                settings=self._settings,
                request_id=request.scope["sluice.request_id"],
            )
        return None

    async def list(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return a page of the key's responses, the newest first unless `order` is `asc`."""
        params = parameters(request, "limit", "after", "order", "status", "model")
        order = _choice(params, "order", ("asc", "desc")) or "desc"
        listing = Listing(
            owner=caller.key_id,
            limit=whole_number(params.get("limit", str(_PAGE)), "limit", 1, _MAX_PAGE),
            after=response_id(params["after"]) if "after" in params else None,
            backward=order == "desc",
            status=_choice(params, "status", _STATUSES),
            model=params.get("model"),
        )
        page = await self._page(listing)
        return json_response(
            {
                "object": "list",
                "data": [listed(item) for item in page.items],
                "first_id": page.first_id,
                "last_id": page.last_id,
                "has_more": page.has_more,
            }
        )

    async def _page(self, listing: Listing) -> ListPage:
        try:
            return await read_page(self._stored.table, listing)
        except NoSuchPosition:
            raise no_position(
                "'after' must be the 'last_id' of the page before, and that response still there. "
                "Begin the list again."
            ) from None
        except MeterUnavailable as error:
            raise public_error(error, "list") from None

    async def cancel(self, request: Request, caller: Caller, send: Send) -> Response:
        """Cancel a response if it runs, and return its state."""
        parameters(request)
        public_id: str = request.path_params["id"]
        found = await self._cancelling.cancel(public_id, caller.key_id, request.scope)
        return json_response(
            state_of(found) if isinstance(found, StoredHead) else unlogged_state(found)
        )

    async def delete(self, request: Request, caller: Caller, send: Send) -> Response:
        """Delete a response that has ended."""
        parameters(request)
        head = await self._stored.find(request.path_params["id"], caller.key_id)
        removal = await delete(self._stored.table, head)
        in_background(request.scope, removal)
        content = {"id": head.response_id, "object": "sluice.stream.deleted", "deleted": True}
        return Response(encode_json(content), media_type="application/json")


def starting_after(params: Mapping[str, str], headers: Mapping[str, str]) -> int:
    """Return the wire number behind which a client goes on, -1 for the beginning.

    A client that reconnects by itself repeats its address and adds `Last-Event-ID`, so the larger
    of both counts. Raises InvalidRequest.
    """
    after = -1
    if "starting_after" in params:
        after = whole_number(params["starting_after"], "starting_after")
    if last := headers.get("last-event-id", "").strip():
        after = max(after, whole_number(last, "Last-Event-ID"))
    return after


def state_of(head: StoredHead, billed: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return the public state of a response, without its content.

    Its usage is `billed`, the tokens of the prompt and of the answer, or else the head's.
    """
    failed = head.event if head.status in {"failed", "cancelled"} else None
    prompt, completion = billed or (head.prompt_tokens, head.completion_tokens)
    return {
        "id": head.response_id,
        "object": "sluice.stream",
        "created_at": head.created,
        "model": head.head.model,
        "form": head.head.form,
        "status": head.status,
        "logged": True,
        "streamable": head.kept == "segments",
        "ended_at": None if head.ended is None else int(head.ended),
        "expires_at": head.expires,
        "metadata": head.metadata or {},
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
        "error": None
        if failed is None
        else {
            "code": getattr(failed, "code", None) or getattr(failed, "kind", None),
            "message": getattr(failed, "message", ""),
        },
    }


def unlogged_state(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the public state of a response that is not kept, by its ledger item.

    Its status is `cancelling` until its producer has ended it.
    """
    running = item["state"] == "OPEN"
    status = "cancelling" if running else _OUTCOMES.get(item.get("outcome", ""), "failed")
    prompt, completion = item.get("prompt_tokens", 0), item.get("completion_tokens", 0)
    return {
        "id": item["sk"],
        "object": "sluice.stream",
        "created_at": int(request_time(item["sk"])),
        "model": item["model"],
        "form": None,
        "status": status,
        "logged": False,
        "streamable": False,
        "ended_at": None if running else int(item["settled"]),
        "expires_at": None,
        "metadata": {},
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
        "error": None,
    }


def listed(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a list shows of a response, from its item in the index."""
    return {
        "id": item["pk"].removeprefix("R#"),
        "object": "sluice.stream",
        "created_at": item["created"],
        "model": item["model"],
        "form": item["form"],
        "status": item["status"],
        "logged": True,
        "streamable": item["kept"] == "segments",
        "expires_at": item["expires"],
        "metadata": item.get("metadata", {}),
    }


def _choice(params: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    value = params.get(name)
    if value is not None and value not in choices:
        raise InvalidRequest(f"'{name}' must be one of {', '.join(choices)}.", param=name)
    return value
