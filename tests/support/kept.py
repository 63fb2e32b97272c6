"""Responses in StreamTable as a producer leaves them at some moment."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from lambda_fn.aws.dynamodb import Table
from lambda_fn.encode import Head
from lambda_fn.events import Delta, End, Event, Failed, Finish, Start, Usage
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log.heads import (
    Ending,
    Status,
    StoredHead,
    end_update,
    open_head,
    put_segment,
    win,
)
from lambda_fn.stream_log.segments import Segment
from tests.support.function import KEY_ID

WORDS = ("Hello", " wide", " world")


def delta(text: str) -> Delta:
    """Return a token."""
    return Delta(msgspec.Raw(msgspec.json.encode({"content": text})), 0, 1)


def events(*words: str) -> list[Event]:
    """Return the events of an answer up to its last token."""
    return [Start(4), *map(delta, words)]


def rest(count: int) -> list[Event]:
    """Return the events between the last token and the terminal one."""
    return [Finish("stop"), Usage(4, count)]


def head_of(form: str = "chat_stream", **changes: Any) -> Head:
    """Return the head of a new response."""
    fields: dict[str, Any] = {
        "response_id": new_request_id(),
        "created": int(time.time()),
        "model": "m",
        "form": form,
        "fingerprint": "fp",
    }
    return Head(**{**fields, **changes})


class Kept:
    """Writes responses as their producers do."""

    def __init__(self, table: Table) -> None:
        """Take StreamTable."""
        self.table = table

    async def begin(self, head: Head | None = None, **changes: Any) -> StoredHead:
        """Put the head of a response that runs."""
        fields: dict[str, Any] = {
            "head": head or head_of(),
            "owner": KEY_ID,
            "status": "in_progress",
            "created": int(time.time()),
            "expires": int(time.time()) + 3600,
            "endpoint": "endpoint-1",
            "dialect": "sluice",
            "writer": "writer",
            "lease": time.time(),
        }
        stored = StoredHead(**{**fields, **changes})
        await open_head(self.table, stored)
        return stored

    async def flush(self, stored: StoredHead, number: int, found: Sequence[Event]) -> int:
        """Put a segment, and return the number of the next one."""
        tokens = sum(it.tokens for it in found if type(it) is Delta)
        segment = Segment(number, list(found), stored.writer, 4, tokens)
        await put_segment(self.table, stored.response_id, segment, expires=stored.expires)
        return segment.next

    async def end(
        self,
        stored: StoredHead,
        number: int,
        event: End | Failed | None = None,
        status: Status = "completed",
        *,
        put: bool = True,
    ) -> None:
        """End a response as its producer does; with `put`, its terminal segment is there."""
        last = event or End()
        ending = Ending(
            status=status, event=last, by=stored.writer, now=time.time(), counts=(4, 3), last=number
        )
        update = end_update(stored.response_id, ending, "#status = :was", {":was": "in_progress"})
        _, won = await win(self.table, update, ending)
        assert won
        if put:
            segment = Segment(number, [last], stored.writer, 4, 3, is_end=True)
            await put_segment(self.table, stored.response_id, segment, expires=stored.expires)

    async def whole(
        self, head: Head | None = None, words: Sequence[str] = WORDS, **changes: Any
    ) -> StoredHead:
        """Put a response that has ended."""
        stored = await self.begin(head, **changes)
        number = await self.flush(stored, 0, events(*words[:1]))
        number = await self.flush(stored, number, [*map(delta, words[1:]), *rest(len(words))])
        await self.end(stored, number)
        return stored
