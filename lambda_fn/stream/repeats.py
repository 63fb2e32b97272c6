"""Repeats: a request that was sent before gets the response that it has already.

    Idempotency-Key    each request with the same one gets the same response
    a retry's number   the request gets the response of the last equal one
    sluice.cache       a request gets the response of any equal one that is new enough

Such a response is generated and billed once. A repeat is attached to a response that runs, and gets
a complete one from the log. A response that failed or was cancelled is generated again.

The identity is looked up before the admission, so a repeat takes no reservation. It counts in the
requests per minute. Another repeat may write the identity between this one's lookup and write. Then
this one ends its own head, gives its reservation back, and is attached.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import NamedTuple

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.encode.base import VERSION
from lambda_fn.errors import (
    NO_RETRY,
    APIError,
    Cancelled,
    IdempotencyKeyReused,
    RequestRunning,
    Unavailable,
)
from lambda_fn.event_log import failed_by
from lambda_fn.ids import request_time
from lambda_fn.log import log
from lambda_fn.metering.rejections import running_repeat
from lambda_fn.stream.admit import Admission
from lambda_fn.stream.rate_limit_errors import public
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import StoredHead, end_overdue, end_segment, new_name, read_head
from lambda_fn.stream_log.identities import Identity, Named, claim, digest_of, find, forget
from lambda_fn.stream_log.keys import UnknownVersion, head_key
from lambda_fn.stream_log.table_log import TableLog

REPLAYED = {"x-sluice-replayed": "true"}
"""The header of a response that was generated for an earlier request."""
_CONTESTS = 4
"""Attempts to name a response. Each one after the first follows a repeat that was faster."""
_ATTACHED = frozenset({"queued", "in_progress", "completed", "incomplete"})
_UNREADABLE = (MeterUnavailable, UnknownVersion, Incomplete)


class Attached(Exception):
    """A request is a repeat, and its response is another's. Nothing was generated for it."""

    def __init__(self, head: StoredHead) -> None:
        """Keep the head of that response."""
        super().__init__()
        self.head = head


class Asked(NamedTuple):
    """What makes two requests equal.

    `form` names the encoder and the buffering, and `revision` what makes the response: the model's
    configuration and the filters.
    """

    method: str
    path: str
    form: str
    body: bytes
    revision: str

    def digest(self, *more: bytes) -> str:
        """Return the digest, with further parts."""
        texts = (self.method, self.path, self.form)
        return digest_of(*(text.encode() for text in texts), self.body, *more)


class Repeats:
    """The identities of one request whose response is logged."""

    def __init__(
        self,
        table: Table,
        asked: Asked,
        headers: Mapping[str, str],
        *,
        owner: str,
        is_repeat: bool,
        cache: int | None = None,
    ) -> None:
        """Name the identities.

        Args:
            table: StreamTable.
            asked: The request.
            headers: Its headers.
            owner: The id of the caller's key.
            is_repeat: Whether the request may have been sent before.
            cache: The greatest age in seconds of a response from the cache; None without.

        """
        self._table = table
        self._cache = cache
        key = headers.get("idempotency-key")
        if key is None:
            digest = asked.digest()
            own = Identity(owner=owner, name=digest, digest=digest)
        else:
            named = f"K#{digest_of(key.encode())}"
            own = Identity(owner=owner, name=named, digest=asked.digest(key.encode()))
        self._own = own
        self._cached: Identity | None = None
        if cache is not None:
            digest = asked.digest()
            revision = digest_of(asked.revision.encode(), str(VERSION).encode())
            self._cached = Identity(
                owner=owner, name=f"C#{digest}", digest=digest, revision=revision
            )
        self.is_repeat = is_repeat
        self.from_cache = False
        """Whether the response that was found is one of the cache."""
        self._begun: asyncio.Task[Named | None] | None = None
        self._seen: dict[Identity, Named | None] = {}
        """What the identities name, but for responses that a repeat can be attached to."""

    @property
    def _looked_up(self) -> list[Identity]:
        """The identities whose response this request may get."""
        own = [self._own] if self.is_repeat else []
        return own if self._cached is None else [*own, self._cached]

    async def find(self) -> StoredHead | None:
        """Return the head of the response that this request gets, None if it has to be generated.

        If StreamTable does not answer, the response is generated: `claim` may still find another.

        Raises:
            IdempotencyKeyReused: its `Idempotency-Key` is another request's.

        """
        for identity in self._looked_up:
            try:
                named = await find(self._table, identity, now=time.time())
                head = await self._head_of(identity, named)
            except _UNREADABLE as error:
                log("repeat_unread", error=type(error).__name__)
                continue
            if head is None:
                # The head of a new response may just be written: `claim` looks for it again.
                if named is None or not named.response_id or not _is_new(named.response_id):
                    self._seen[identity] = named
                continue
            self.from_cache = identity is self._cached
            if identity is not self._own and self.is_repeat:
                with contextlib.suppress(*_UNREADABLE):  # a retry of this request may find no other
                    await self._claim(self._own, head.response_id, head.expires)
            return head
        return None

    @property
    def may_lose(self) -> bool:
        """Whether another request may have the response already, or begin it at the same time."""
        return bool(self._looked_up)

    def begin(self, response_id: str, expires: int) -> None:
        """Begin to point the identity of a first request to its response.

        The identity is overwritten whatever it names, so this need not wait for the head. If the
        head is not written, call `give_up`: a repeat may find the identity of a response without a
        log.
        """
        if self._own not in self._looked_up:
            claiming = self._claim(self._own, response_id, expires, always=True)
            self._begun = asyncio.ensure_future(claiming)
            self._begun.add_done_callback(_retrieve)

    def give_up(self) -> None:
        """Stop what `begin` has begun."""
        if self._begun is not None:
            self._begun.cancel()

    async def claim(self, response_id: str, expires: int) -> StoredHead | None:
        """Point the identities to a new response, whose head exists.

        Returns:
            None if the response has to be generated, or the head of the one that the request gets.

        Raises:
            IdempotencyKeyReused: as `find`.
            RequestRunning: other repeats were faster each time.
            UnknownVersion, MeterUnavailable, Incomplete: it is not known what was written.

        """
        if self._begun is not None:
            await self._begun
        for identity in self._looked_up:
            for _ in range(_CONTESTS):
                standing = await self._claim(identity, response_id, expires)
                if standing is None:
                    break
                head = await self._head_of(identity, standing)
                if head is not None:
                    self.from_cache = identity is self._cached
                    return head
                self._seen[identity] = standing
            else:
                raise RequestRunning(
                    "Several repeats of this request were sent at the same time, and none of their "
                    "responses could be used for this one. Send it again.",
                    code="repeat_contended",
                )
        return None

    async def forget(self, response_id: str) -> None:
        """Keep a response out of the cache, because an equal request should not get it.

        Responses that this service ended early, by a budget or a time limit, are among these. It
        raises nothing.
        """
        if self._cached is not None:
            with contextlib.suppress(MeterUnavailable):
                await forget(self._table, self._cached, response_id)

    async def runs_unlogged(self, request_id: str) -> bool:
        """Return whether a running request, which is equal to this one, has no log.

        Such a response cannot be attached to. A request that began just now may be about to write
        its log. An identity may name a response whose log could not be opened.
        """
        named = {it.response_id for it in self._seen.values() if it is not None}
        if _is_new(request_id) or named - {request_id}:
            return False
        with contextlib.suppress(MeterUnavailable):
            return await self._table.get(head_key(request_id)) is None
        return True

    async def _claim(
        self, identity: Identity, response_id: str, expires: int, *, always: bool = False
    ) -> Named | None:
        return await claim(
            self._table,
            identity,
            response_id,
            expires=expires,
            seen=self._seen.get(identity),
            now=time.time(),
            always=always,
            deadline=time.monotonic() + limits.LOG_OPEN_TIMEOUT,
        )

    async def _head_of(self, identity: Identity, named: Named | None) -> StoredHead | None:
        """Return the head of what an identity names if this request gets it. Raises as `claim`."""
        if named is None or not named.response_id:
            return None
        if named.digest != identity.digest:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was sent before with another request: with another body, path "
                "or form of the response. Send a new key with a new request.",
                headers=NO_RETRY,
            )
        now = time.time()
        head = await read_head(self._table, named.response_id, now=now)
        if head is not None and head.is_overdue(now):
            by = new_name()
            head = await end_overdue(self._table, head, now=now, by=by)
            if head is not None and head.ended_by == by and head.kept == "segments":
                await end_segment(self._table, head)
        if (
            head is None
            or head.owner != identity.owner
            or head.kept != "segments"
            or head.status not in _ATTACHED
        ):
            return None
        if identity is self._cached and (
            named.revision != identity.revision or head.created + (self._cache or 0) <= now
        ):
            return None
        return head


async def name(
    repeats: Repeats,
    event_log: TableLog | None,
    admission: Admission,
    fingerprint: str,
    *,
    expires: int,
    refuse: bool,
) -> None:
    """Name the response to an admitted request, before anything of it is sent.

    If it raises, the response's own head has been ended.

    Args:
        repeats: The request's identities.
        event_log: Its log, which is open; None if it is answered without one.
        admission: Its admission.
        fingerprint: Its fingerprint, by which repeats are known that have no log.
        expires: The time of the response, in Unix seconds.
        refuse: Whether a response that its repeats would not find is refused.

    Raises:
        Attached: the request gets another response.
        RequestRunning: it gets one that has no log, and runs.
        IdempotencyKeyReused: its `Idempotency-Key` is another request's.
        Unavailable: its identity cannot be written, and `refuse` is set.

    """
    opening = admission.opening
    try:
        running = None
        if repeats.is_repeat and admission.account is not None:
            running = running_repeat(admission.account, opening.request_id, fingerprint)
        if running is not None and (
            event_log is None or await repeats.runs_unlogged(running.request_id)
        ):
            now = time.time()
            raise public(running, model=opening.model, when=now, now=now)
        if event_log is None:
            return
        head = await repeats.claim(opening.request_id, expires)
        if head is not None:
            raise Attached(head)
    except _UNREADABLE as error:
        log("repeat_unnamed", request_id=opening.request_id, error=type(error).__name__)
        if refuse:
            await _leave(event_log)
            raise Unavailable(
                "It cannot be stored now which response this request gets, so it was ended before "
                "it began, and nothing is billed. Try again.",
                code="log_unavailable",
                retry_after=1,
            ) from None
    except (APIError, Attached):
        await _leave(event_log)
        raise


def _is_new(request_id: str) -> bool:
    """Return whether a request began so recently that its log may not be open yet."""
    return time.time() - request_time(request_id) < 2 * limits.LOG_OPEN_TIMEOUT


def _retrieve(task: "asyncio.Task[Named | None]") -> None:
    """Retrieve a task's exception, in case nothing awaits the task."""
    if not task.cancelled():
        task.exception()


async def _leave(event_log: TableLog | None) -> None:
    """End the log of a response that is not generated. If that fails, its lease ends it."""
    if event_log is None:
        return
    repeated = Cancelled("This request got the response to an earlier one.", code="repeated")
    with contextlib.suppress(Exception):
        async with asyncio.timeout(limits.LOG_END_TIMEOUT):
            await event_log.end((0, [failed_by(repeated)]))
