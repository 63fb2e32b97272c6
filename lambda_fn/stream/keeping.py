"""The steps of the pipeline for responses that are kept: their logs, and their repeats.

The first request whose response is kept loads this.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable
from lambda_fn.encode import Head
from lambda_fn.errors import APIError, RateLimited, Unavailable
from lambda_fn.event_log import error_of
from lambda_fn.events import Failed
from lambda_fn.metering.accounts import NO_FILTERS
from lambda_fn.stream import logged, repeats
from lambda_fn.stream.admit import Admission
from lambda_fn.stream.carrier import Carrier
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.negotiate import ReadRequest
from lambda_fn.stream.pipeline import Accepted, Shared, is_repeat
from lambda_fn.stream.repeats import Asked, Attached, Repeats
from lambda_fn.stream.replay import replay
from lambda_fn.stream.usage_counter import UsageCounter
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.keys import head_key
from lambda_fn.stream_log.results import Input, ResultLog
from lambda_fn.stream_log.table_log import TableLog

if TYPE_CHECKING:
    from lambda_fn.stream.conversing import Conversing


async def answer_logged(
    shared: Shared,
    carrier: Carrier,
    accepted: Accepted,
    generate: Callable[[Repeats], Awaitable[None]],
) -> None:
    """Answer a request whose response is logged, with an existing response or with a new one.

    `generate` generates a new one, and raises Attached if another request has begun one meanwhile.

    Raises:
        APIError: the key may not use the response, or the response failed before its first token.

    """
    names = await _repeats(shared, carrier, accepted)
    head = await names.find()
    if head is None:
        try:
            await generate(names)
        except Attached as found:
            head = found.head
    if head is not None:
        account = await shared.gate.check_key(carrier.caller)
        assert shared.streams is not None  # noqa: S101 (responses are logged)
        await replay(
            *((shared.table, shared.streams), account, head, carrier, shared.settings),
            from_cache=names.from_cache,
            only_state=accepted.read.background and not accepted.read.request.stream,
        )


async def _repeats(shared: Shared, carrier: Carrier, accepted: Accepted) -> Repeats:
    """Return the identities of a request whose response is logged.

    Only the cache asks what filters the key has. Another environment may have seen the key before,
    so they are read. Raises as `Gate.filters`.
    """
    settings, read = shared.settings, accepted.read
    extensions = read.request.sluice
    cache = None if extensions is None else extensions.cache
    filters = NO_FILTERS if cache is None else await shared.gate.filters(carrier.caller)
    policy = msgspec.json.encode([settings.redaction, settings.moderation, *filters]).decode()
    asked = Asked(
        carrier.method,
        carrier.path,
        f"{read.form} {read.buffering}",
        accepted.body,
        settings.fingerprint(read.request.model) + policy,
    )
    assert shared.streams is not None  # noqa: S101 (responses are logged)
    return Repeats(
        shared.streams,
        asked,
        carrier.headers,
        owner=carrier.caller.key_id,
        is_repeat=is_repeat(carrier.headers),
        cache=cache,
    )


def asks_first(shared: Shared, read: ReadRequest, names: Repeats | None) -> bool:
    """Return whether the model is asked before the response is opened in StreamTable.

    It is not if the request may get another one's response, and if it may have to wait: for
    capacity, or for its conversation. While no log can be opened, it is not asked for a response
    that must not be sent without one.
    """
    if read.background or read.appends or (names is not None and names.may_lose):
        return False
    return shared.watch().opens or not _refuses_unlogged(shared, read)


async def open_log(
    shared: Shared,
    carrier: Carrier,
    accepted: Accepted,
    head: Head,
    counter: UsageCounter,
    names: Repeats,
) -> TableLog | None:
    """Return the open log of a response, or None if it is sent without one.

    `names` are the identities of the request. The first of them may be written meanwhile.

    Raises:
        Unavailable: the log cannot be opened, and the response must not be sent without one.

    """
    assert shared.streams is not None  # noqa: S101 (responses are logged)
    expires = expires_at(shared, accepted.read, head.created)
    names.begin(head.response_id, expires)
    event_log = None
    try:
        event_log = await logged.open_log(
            shared.streams,
            shared.watch(),
            head,
            counter,
            accepted.model,
            owner=carrier.caller.key_id,
            expires=expires,
            kept=logged.kept_input(accepted.read),
            metadata=accepted.read.metadata,
            chat=accepted.read.is_stored_chat,
            refuse=_refuses_unlogged(shared, accepted.read),
        )
    finally:
        shared.watch().opens = event_log is not None
        if event_log is None:
            names.give_up()
    return event_log


def headers(event_log: TableLog | None) -> dict[str, str]:
    """Return the headers of a response that tell its client of its log; None for no log."""
    return logged.OFF if event_log is None else {logged.HEADER: event_log.stored.response_id}


async def open_result(
    shared: Shared,
    carrier: Carrier,
    accepted: Accepted,
    head: Head,
    counter: UsageCounter,
    *,
    seconds: float,
) -> ResultLog | None:
    """Return the open log of a response that is kept whole, None if it cannot be kept.

    `seconds` is the time limit of the response.

    Raises:
        Unavailable: it cannot be kept, and the deployment refuses it then.

    """
    assert shared.streams is not None  # noqa: S101 (it keeps responses)
    result_log = None
    try:
        result_log = await logged.open_result(
            shared.streams,
            head,
            counter,
            accepted.model,
            accepted.read,
            owner=carrier.caller.key_id,
            expires=expires_at(shared, accepted.read, head.created),
            seconds=seconds,
            refuse=_refuses_unlogged(shared, accepted.read),
        )
    finally:
        shared.watch().opens = result_log is not None
    if result_log is None:
        carrier.response_headers = {**carrier.response_headers, **logged.OFF}
    return result_log


async def hide_all(shared: Shared, response_ids: Sequence[str]) -> None:
    """Delete the kept responses that a fallback has replaced. The sweeper removes their items.

    One that was not kept, or for which this fails, stays as it is.
    """
    from lambda_fn.stream_log.removal import hide

    assert shared.streams is not None  # noqa: S101 (it keeps responses)
    for name in response_ids:
        with contextlib.suppress(ConditionFailed, MeterUnavailable):
            await shared.streams.update(hide(head_key(name), now=int(time.time())))


def adopt(shared: Shared, claimed: StoredHead, counter: UsageCounter) -> TableLog | ResultLog:
    """Return the log of a queued response that this run has claimed."""
    assert shared.streams is not None  # noqa: S101 (it keeps responses)
    log: TableLog | ResultLog
    if claimed.kept == "segments":
        log = TableLog(shared.streams, shared.watch(), claimed, lambda: counter.billed)
    else:
        log = ResultLog(
            shared.streams, claimed, Input(), lambda: counter.billed, seconds=limits.STREAM_DEADLINE
        )
    log.adopt(claimed)
    log.may_wait = lambda failed: finds_no_room(error_of(failed))
    return log


def may_wait(delivery: Delivery) -> Callable[[Failed], bool]:
    """Return what says whether a background response waits in place of a failure.

    It does if it found no room, and its client has not got anything yet.
    """
    return lambda failed: not delivery.has_started and finds_no_room(error_of(failed))


def finds_no_room(error: APIError) -> bool:
    """Return whether a queued response waits for capacity after this error, and does not fail."""
    return isinstance(error, RateLimited | Unavailable)


async def name(
    shared: Shared,
    accepted: Accepted,
    names: Repeats,
    event_log: TableLog | None,
    admission: Admission,
    fingerprint: str,
) -> None:
    """Store where repeats of a request find its response. Raises as `repeats.name`."""
    try:
        await repeats.name(
            names,
            event_log,
            admission,
            fingerprint,
            expires=expires_at(shared, accepted.read, int(time.time())),
            refuse=_refuses_unlogged(shared, accepted.read),
        )
    except Unavailable:
        shared.watch().opens = False
        raise


async def converse(
    shared: Shared,
    read: ReadRequest,
    log: TableLog | ResultLog,
    response_id: str,
    *,
    seconds: float,
) -> "Conversing":
    """Take the lock of the conversation of a request whose response is kept.

    `seconds` is the time limit of the response. Raises as `conversing.converse`.
    """
    from lambda_fn.stream import conversing  # few requests name a conversation
    from lambda_fn.stream_log.conversations import Conversations

    assert shared.streams is not None  # noqa: S101 (it keeps responses)
    assert read.conversation is not None  # noqa: S101 (it appends)
    kept = Conversations(shared.streams, days=shared.settings.response_days)
    return await conversing.converse(log, kept, read.conversation, response_id, seconds=seconds)


def _refuses_unlogged(shared: Shared, read: ReadRequest) -> bool:
    """Return whether a response is refused if its log cannot be opened."""
    setting = shared.settings.on_log_failure
    if read.background and not read.request.stream:  # nobody could read it
        return True
    if read.appends:  # its conversation would be without it
        return True
    return setting == "refuse" or (setting is None and bool(read.durable))


def expires_at(shared: Shared, read: ReadRequest, created: int) -> int:
    """Return the Unix time until which a response can be read that is made at some time."""
    if read.kept_seconds is not None:
        return created + read.kept_seconds
    if read.kept_items is None:
        return created + 3600 * shared.settings.log_hours
    return created + 86_400 * shared.settings.response_days
