"""`/v1/responses`: OpenAI's calls for responses that are kept.

    GET    /v1/responses/{id}                                  the response as it stands
    GET    /v1/responses/{id}?stream=true[&starting_after=N]   its events with numbers above N
    GET    /v1/responses/{id}/input_items                      its own input
    POST   /v1/responses/{id}/cancel                           a response that runs, kept or not
    DELETE /v1/responses/{id}                                  gone at once

Beyond OpenAI's API, `?wait=20` waits for the end of a response, and any response can be cancelled.
"""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.encode import Head
from lambda_fn.encode.responses import snapshot
from lambda_fn.errors import APIError, Cancelled, InvalidRequest
from lambda_fn.event_log import error_of
from lambda_fn.events import Failed
from lambda_fn.http.pages import asked_page, page_of, parameters, whole_number
from lambda_fn.http.responses import json_response
from lambda_fn.ids import request_time
from lambda_fn.recall.cancelling import Cancelling
from lambda_fn.recall.deletion import delete
from lambda_fn.recall.stored import MAX_WAIT, Stored, not_found, public_error
from lambda_fn.recall.streams import starting_after, unlogged_state
from lambda_fn.schema.responses.listed import listed
from lambda_fn.settings import Settings
from lambda_fn.stream.carrier import in_background, seconds_left
from lambda_fn.stream.resume import resume
from lambda_fn.stream.sinks import AsgiSink
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.keys import UnknownVersion
from lambda_fn.stream_log.readers import Readers
from lambda_fn.stream_log.results import Kept, read_kept

_FORMS = ("responses_stream", "responses_body")
_CANCELLED = (*_FORMS, "compaction_body")
"""The forms of what is cancelled here. A compaction is no response that could be read."""
_STOPPED = Cancelled("This response was cancelled.")


class Responses:
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
        """Return a response as it stands, or send its events."""
        # All that `include` may name is in the response anyway.
        params = parameters(
            request,
            *("stream", "starting_after", "include_obfuscation", "wait"),
            ignored=("include", "include[]"),
        )
        streams = _flag(params.get("stream", "false"), "stream")
        _flag(params.get("include_obfuscation", "true"), "include_obfuscation")
        after = starting_after(params, request.headers) if streams else -1
        if "starting_after" in params and not streams:
            raise InvalidRequest(
                "'starting_after' is only allowed when 'stream' is true.", param="starting_after"
            )
        head = await self._find(request, caller)
        if streams:
            if head.kept != "segments" or head.head.form != "responses_stream":
                raise InvalidRequest(
                    "This response cannot be streamed because its events were not logged: it was "
                    'not created with \'stream\' and with "sluice": {"durable": true}.',
                    param="stream",
                )
            left = seconds_left(request.scope)
            async with self._readers.following(head, left):
                await resume(
                    *(self._stored.table, head, after, AsgiSink(send)),
                    seconds=left,
                    settings=self._settings,
                    request_id=request.scope["sluice.request_id"],
                )
            return None
        if "wait" in params:
            seconds = whole_number(params["wait"], "wait", maximum=MAX_WAIT)
            async with self._readers.following(head, seconds):
                head = await self._stored.wait(head, seconds)
        return _json(snapshot_of(await self._read(head)))

    async def input_items(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return a page of a response's own input."""
        asked = asked_page(request, "include", "include[]")
        kept = await self._read(await self._find(request, caller))
        return json_response(page_of(items_of(kept), asked))

    async def cancel(self, request: Request, caller: Caller, send: Send) -> Response:
        """Cancel a response that runs, and return it.

        One that is cancelled is returned as it is, and one that ended otherwise is a 400.
        """
        parameters(request)
        public_id: str = request.path_params["id"]
        found = await self._cancelling.cancel(
            public_id, caller.key_id, request.scope, forms=_CANCELLED
        )
        if isinstance(found, StoredHead):
            if found.status != "cancelled":
                raise _ended(found.status)
            head = found.head
            if head.form not in _FORMS:
                head = Head(head.response_id, head.created, head.model)
            return _json(snapshot(head, (), _STOPPED))
        status = unlogged_state(found)["status"]
        if status not in ("cancelling", "cancelled"):
            raise _ended(status)
        head = Head(found["sk"], int(request_time(found["sk"])), found["model"])
        return _json(snapshot(head, (), _STOPPED))

    async def delete(self, request: Request, caller: Caller, send: Send) -> Response:
        """Delete a response that has ended."""
        parameters(request)
        head = await self._find(request, caller)
        removal = await delete(self._stored.table, head)
        in_background(request.scope, removal)
        content = {"id": f"resp_{head.response_id}", "object": "response.deleted", "deleted": True}
        return json_response(content)

    async def _find(self, request: Request, caller: Caller) -> StoredHead:
        public_id: str = request.path_params["id"]
        head = await self._stored.find(public_id, caller.key_id)
        if head.head.form not in _FORMS:
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


def snapshot_of(kept: Kept) -> bytes:
    """Return a response as it stands. While it runs, it has no output."""
    head = kept.head
    if head.status == "queued" or head.status == "in_progress":
        return snapshot(head.head, (), status=head.status)
    error: APIError | None = None
    if type(head.event) is Failed:
        error = error_of(head.event)
    return snapshot(head.head, kept.whole, error)


def items_of(kept: Kept) -> list[dict[str, Any]]:
    """Return the items of a response's own input, each with an id for references to it."""
    return listed(kept.input.items, kept.head.response_id)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _ended(status: str) -> InvalidRequest:
    article = "an" if status == "incomplete" else "a"
    return InvalidRequest(f"Cannot cancel {article} {status} response.", param="id")


def _flag(text: str, name: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidRequest(f"'{name}' must be true or false.", param=name)
    return text.lower() == "true"
