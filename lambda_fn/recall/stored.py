"""Finds a key's responses in StreamTable, for every endpoint of the recall function.

A response of another key, one that was deleted, one that has expired and one that never existed are
the same error to a caller: `NotFound`.
"""

import asyncio
import time

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.errors import APIError, InvalidRequest, NotFound, Unavailable
from lambda_fn.ids import is_request_id
from lambda_fn.log import log
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import (
    StoredHead,
    end_overdue,
    end_segment,
    new_name,
    read_head,
)
from lambda_fn.stream_log.keys import UnknownVersion, head_key, response_id

MAX_WAIT = 30
"""Maximum number of seconds for which a request waits for the end of a response."""

_END_ATTEMPTS = 3
"""How often the end of a response is attempted. Its producer's last renewal may come between."""


class Stored:
    """The responses in StreamTable."""

    def __init__(self, table: Table) -> None:
        """Take StreamTable."""
        self.table = table

    async def find(self, public_id: str, key_id: str) -> StoredHead:
        """Return the head of a key's response. If its producer has died, it is ended first.

        Raises:
            NotFound: the key has no such response.
            Unavailable: DynamoDB does not answer.
            InvalidRequest: a later deployment wrote it.

        """
        found = await self.look(public_id, key_id)
        if found is None:
            raise not_found(public_id)
        return found

    async def look(self, public_id: str, key_id: str) -> StoredHead | None:
        """Return the head as `find` does, or None without one. Raises Unavailable as `find`."""
        name = id_of(public_id)
        if name is None:
            return None
        try:
            head = await read_head(self.table, name, now=time.time())
            if head is None or head.owner != key_id:
                return None
            return await self._ended(head)
        except (MeterUnavailable, UnknownVersion, Incomplete) as error:
            raise public_error(error, name) from None

    async def has(self, name: str) -> bool:
        """Return whether there is a head of this id: anybody's, or of a deleted response.

        Raises Unavailable as `find`.
        """
        try:
            return await self.table.get(head_key(name)) is not None
        except MeterUnavailable as error:
            raise public_error(error, name) from None

    async def _ended(self, head: StoredHead) -> StoredHead | None:
        """Return a head. If it is overdue, end it first."""
        now = time.time()
        if not head.is_overdue(now):
            return head
        by = new_name()
        ended = await end_overdue(self.table, head, now=now, by=by)
        if ended is not None and ended.ended_by == by and ended.kept == "segments":
            await end_segment(self.table, ended)
        return ended

    async def end(self, public_id: str, key_id: str) -> StoredHead | None:
        """Return the head of a response whose producer has certainly died: it has ended then.

        Its log has its terminal event. None means that there is no such response of the key. It is
        not final only if its producer does live. Raises as `find`.
        """
        name = id_of(public_id)
        if name is None:
            return None
        try:
            head = await read_head(self.table, name, now=time.time())
            for _ in range(_END_ATTEMPTS):
                if head is None or head.owner != key_id or head.is_final:
                    break
                head = await end_overdue(self.table, head, now=time.time())
            if head is None or head.owner != key_id:
                return None
            if head.is_final and head.kept == "segments":
                await end_segment(self.table, head)
        except (MeterUnavailable, UnknownVersion, Incomplete) as error:
            raise public_error(error, name) from None
        return head

    async def wait(self, head: StoredHead, seconds: float) -> StoredHead:
        """Return the head of a response once it has ended, or as it is after some seconds.

        Raises as `find`.
        """
        deadline = time.monotonic() + seconds
        while not head.is_final and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(limits.LOG_WATCH, left))
            head = await self.find(head.response_id, head.owner)
        return head


def id_of(public_id: str) -> str | None:
    """Return the id of the request from an id that a client sends; None if it has no such form."""
    name = response_id(public_id)
    return name if is_request_id(name) else None


def not_found(public_id: str) -> NotFound:
    """Return the error for a response that the key does not have."""
    return NotFound(
        f"This key has no response '{public_id[:80]}'. It was not kept, was deleted, or has expired.",
        param="id",
        code="response_not_found",
    )


def public_error(error: Exception, name: str) -> APIError:
    """Return the public error if StreamTable did not answer, or has a form that is unknown here."""
    if isinstance(error, UnknownVersion):
        return InvalidRequest("This response can no longer be streamed.", param="id")
    log("fault", request_id=name, error=type(error).__name__)
    return Unavailable(
        "The table of kept responses does not answer. Nothing was changed; try again.",
        retry_after=5,
    )
