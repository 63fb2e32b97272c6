"""Responses in a conversation: they take its lock, and append their items.

The items of a response are appended when it is completed, before its client gets the terminal
event. So the next request of this client has them. If that fails, the next request for the
conversation does it (`stream_log.conversations`).
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterError
from lambda_fn.errors import APIError, InvalidRequest, NotFound, Unavailable
from lambda_fn.event_log import Batch, Source, failed_by
from lambda_fn.log import log
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.conversations import (
    MAX_ENTRIES,
    MAX_ITEMS,
    MAX_SIZE,
    Conversation,
    Conversations,
    Full,
    Gone,
    Locked,
    UsedUp,
    check_room,
)
from lambda_fn.stream_log.keys import UnknownVersion

if TYPE_CHECKING:
    from lambda_fn.encode import Head
    from lambda_fn.stream_log.results import ResultLog
    from lambda_fn.stream_log.table_log import TableLog

ERRORS = (Gone, Locked, Full, Incomplete, UnknownVersion, MeterError, TimeoutError)
"""What `conversation_error` has public errors for."""
_SPARE = 0.3
"""Seconds of `limits.LOG_END_TIMEOUT` that are left for the answer to the producer."""
_ATTEMPTS, _PAUSE = 3, 0.1
"""How often a response tries to take a lock, and the seconds between."""
_LATEST = 60.0
"""Seconds after the time limit of a response after which its lock needs no head to be removed."""


class Conversing:
    """The log of one response, which appends to a conversation when the response has ended."""

    def __init__(
        self, inner: "TableLog | ResultLog", kept: Conversations, held: Conversation
    ) -> None:
        """Take the open log, the conversations and the one whose lock the response has."""
        self._inner = inner
        self._kept = kept
        self._held = held
        self._is_settled = False

    async def open(self, head: "Head") -> None:
        """Open the log, as `EventLog.open` does."""
        await self._inner.open(head)

    def append(self, batch: Batch) -> "asyncio.Future[None] | None":
        """Append a batch, as `EventLog.append` does."""
        return self._inner.append(batch)

    def end(self, batch: Batch) -> "asyncio.Future[Batch]":
        """End the response, and then settle the conversation. See `EventLog.end`."""
        deadline = time.monotonic() + limits.LOG_END_TIMEOUT - _SPARE
        return asyncio.ensure_future(self._end(self._inner.end(batch), deadline))

    def read(self, after: int) -> Source:
        """Return a source. See `EventLog.read`."""
        return self._inner.read(after)

    async def close(self) -> None:
        """Finish the writes that nobody waits for. Another request repeats those that fail."""
        await self._inner.close()
        await self._settle(limits.LOG_END_TIMEOUT)

    async def leave(self) -> None:
        """Remove the lock and append nothing, because the response waits for capacity.

        If that fails, the lock ends with its time. Raises nothing.
        """
        with contextlib.suppress(*ERRORS):
            await self._kept.append(self._held, [])
        self._is_settled = True

    async def _end(self, ending: "asyncio.Future[Batch]", deadline: float) -> Batch:
        standing = await ending
        await self._settle(deadline - time.monotonic())
        return standing

    async def _settle(self, seconds: float) -> None:
        """Append the response's items, and remove the lock, if this response still has it."""
        if self._is_settled:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._kept.unlocked(self._held.id, self._held.owner)
        except (Gone, Locked):
            pass  # another response has the lock, or the end of this one is not known
        except ERRORS as error:
            name = self._held.lock
            log("conversation_unsettled", request_id=name, error=type(error).__name__)
            return
        self._is_settled = True


async def converse(
    inner: "TableLog | ResultLog",
    kept: Conversations,
    seen: Conversation,
    response_id: str,
    *,
    seconds: float,
) -> Conversing:
    """Take the lock of a conversation for a response whose head is written.

    If it raises, the head has been ended.

    Args:
        inner: The open log of the response.
        kept: The conversations.
        seen: The conversation as the response's prompt has it.
        response_id: The response.
        seconds: The time limit of the response.

    Raises:
        APIError: the conversation is locked, has changed or is gone, or the table does not answer.

    """
    try:
        held = await _acquire(kept, seen, response_id, time.time() + seconds + _LATEST)
    except ERRORS as error:
        public = conversation_error(error, seen.id, "conversation")
        with contextlib.suppress(Exception):
            async with asyncio.timeout(limits.LOG_END_TIMEOUT):
                await inner.end((0, [failed_by(public)]))
        raise public from None
    return Conversing(inner, kept, held)


async def _acquire(
    kept: Conversations, seen: Conversation, response_id: str, until: float
) -> Conversation:
    """Take the lock. An attempt of the same request with another model may just be giving it back.

    Raises as `Conversations.acquire`.
    """
    for attempt in range(_ATTEMPTS):
        with contextlib.suppress(Locked):
            return await kept.acquire(seen, response_id, until=until)
        if attempt + 1 < _ATTEMPTS:
            await asyncio.sleep(_PAUSE)
            if (await kept.unlocked(seen.id, seen.owner)).rev != seen.rev:
                break
    raise Locked


def check_items(seen: Conversation, items: Sequence[msgspec.Raw]) -> None:
    """Check that a conversation may have the input of a response, too. Raises InvalidRequest."""
    try:
        check_room(seen, len(items), sum(map(len, items)))
    except Full as error:
        raise conversation_error(error, seen.id, "conversation") from None


def conversation_error(error: Exception, name: str, param: str = "id") -> APIError:
    """Return the public error for one of `ERRORS`. `param` names the conversation."""
    if isinstance(error, Gone):
        return no_conversation(f"conv_{name}", param)
    if isinstance(error, Locked):
        return InvalidRequest(
            "Another process is currently operating on this conversation. Please retry in a few "
            "seconds.",
            param="conversation",
            code="conversation_locked",
        )
    if isinstance(error, UsedUp):
        return InvalidRequest(
            f"The conversation was added to {MAX_ENTRIES} times. Begin a new one with the items "
            "that count.",
            param=param,
            code="conversation_full",
        )
    if isinstance(error, Full):
        return InvalidRequest(
            f"The conversation would have more than {MAX_ITEMS} items or {MAX_SIZE} bytes. Delete "
            "some of its items, or begin a new one.",
            param=param,
            code="conversation_full",
        )
    if isinstance(error, UnknownVersion):
        return InvalidRequest(
            "This conversation cannot be read by this version of the service. Try again later, or "
            "send its items in 'input'.",
            param=param,
        )
    log("fault", request_id=name, error=type(error).__name__)
    return Unavailable(
        "The table of kept responses does not answer. It is not known whether a change was made.",
        retry_after=5,
    )


def no_conversation(public_id: str, param: str = "id") -> NotFound:
    """Return the error for a conversation that the key does not have."""
    return NotFound(
        f"Conversation with id '{public_id[:80]}' not found. It never was one of this key's, was "
        "deleted, or has expired.",
        param=param,
        code="conversation_not_found",
    )
