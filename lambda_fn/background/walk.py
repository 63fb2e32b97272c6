"""Background responses: ends those whose process died, frees places, and starts those that wait."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.log import log
from lambda_fn.stream_log import queued
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.places import Places, every, is_free, look, release

_AT_ONCE = 16
START_AT_ONCE = 20
"""The maximum number of waiting responses that one sweep starts.

Those that find no room wait again, so this bounds what a model that sleeps costs. They come in
turns: those whose last run was longest ago are first, and of those that never ran the oldest. So
responses that find no room for hours do not keep others from their turn.
"""
_MALFORMED = (KeyError, ValueError, TypeError)

Invoke = Callable[[str], Awaitable[None]]
"""Calls the function for a response. Raises an exception if it was not called."""
Ended = Callable[[StoredHead], Awaitable[None]]
"""Is called for a response that has ended, before its place is released."""


@dataclass
class Walk:
    """The result of one walk through the background responses."""

    freed: int = 0
    """Places that were released for processes that had died."""
    started: int = 0
    waiting: int = 0
    """Responses that wait for capacity, with those that were started."""
    failures: int = 0
    heads: list[StoredHead] = field(default_factory=list)


async def sweep_background(
    table: Table,
    *,
    now: float,
    stop: Callable[[], bool],
    invoke: Invoke | None = None,
    ended: Ended | None = None,
) -> Walk:
    """Walk once through all background responses that have a place.

    Args:
        table: StreamTable.
        now: Unix seconds.
        stop: Returns whether the time is over.
        invoke: Calls the function for a response; None if nothing is started.
        ended: Is called for each response that has ended.

    """
    walk = Walk()
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(places: Places, response_id: str, mark: str) -> None:
        async with turns:
            try:
                if not stop():
                    await _look(table, places, response_id, mark, walk, ended, now=now)
            except (MeterUnavailable, *_MALFORMED) as error:
                walk.failures += 1
                log("sweep_failed", error=repr(error), response_id=response_id)

    try:
        async for places in every(table):
            await asyncio.gather(
                *(one(places, name, mark) for name, mark in places.answers.items())
            )
    except MeterUnavailable as error:
        walk.failures += 1
        log("sweep_failed", error=repr(error))
    walk.heads.sort(key=lambda head: (head.lease, head.response_id))  # a run claims by the lease
    walk.waiting = len(walk.heads)
    if invoke is not None:
        for head in walk.heads[:START_AT_ONCE]:
            if stop():
                break
            walk.started += await start(table, head, invoke, now=now)
    return walk


async def _look(
    table: Table,
    places: Places,
    response_id: str,
    mark: str,
    walk: Walk,
    ended: Ended | None,
    *,
    now: float,
) -> None:
    head = await look(table, response_id, now=now)
    of_key = places.owner is not None
    if is_free(head, response_id, running=not of_key, now=now):
        if of_key and head is not None and ended is not None:
            await ended(head)
        await release(table, places.owner, response_id, mark)
        walk.freed += 1
    elif of_key and head is not None and head.is_waiting:
        walk.heads.append(head)


async def free(
    table: Table,
    owner: str,
    response_id: str,
    walk: Walk,
    ended: Ended | None,
    *,
    now: float,
) -> None:
    """Free a key's place for a response, if the response has ended.

    `ended` is called before. A failure is counted in `walk`.
    """
    try:
        head = await look(table, response_id, now=now)
        if head is None or not head.is_final or head.owner != owner:
            return
        if ended is not None:
            await ended(head)
        await release(table, owner, response_id)
        walk.freed += 1
    except (MeterUnavailable, *_MALFORMED) as error:
        walk.failures += 1
        log("sweep_failed", error=repr(error), response_id=response_id)


async def start(table: Table, head: StoredHead, invoke: Invoke, *, now: float) -> bool:
    """Start a waiting response, and return whether its function was called.

    If it was certainly not called, the response waits again.
    """
    try:
        started = await queued.start(table, head, now=now)
        if started is None:
            return False
        try:
            await invoke(head.response_id)
        except Exception as error:  # noqa: BLE001 (whatever it is, the response must wait again)
            log("not_started", response_id=head.response_id, error=type(error).__name__)
            await queued.unstart(table, started)
            return False
    except MeterUnavailable as error:
        log("not_started", response_id=head.response_id, error=type(error).__name__)
        return False
    return True
