"""Faults of a container and of the connections on both sides of the SageMaker endpoint.

The code of the container is not changed. One of the faults kills its process.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import aiohttp

from local.faults.plan import Strike

log = logging.getLogger("local.faults")

_GARBAGE_BYTES = 2000
# In bytes, four times the longest record.
_ENDLESS_BYTES = 16 * 1024 * 1024
_PIECE = b"x" * 65_536
_PAGE = "<html><body><h1>{status}</h1>The container is not well.</body></html>"


class ErrorAnswer(Exception):
    """The container answers with an error; `status` and `body` are its response."""

    def __init__(self, status: int) -> None:
        """`status` is the HTTP status."""
        super().__init__(f"status {status}")
        self.status, self.body = status, _PAGE.format(status=status)


class CallerCut(Exception):
    """The caller's connection is lost.

    With `notify_container`, the container's connection is closed as well. Without it, the container
    does not notice.
    """

    def __init__(self, *, notify_container: bool = True) -> None:
        """`notify_container` says whether the container's connection is closed as well."""
        super().__init__("the caller's connection is lost")
        self.notify_container = notify_container


async def before(strike: Strike | None, kill: Callable[[], None]) -> None:
    """Carry out a fault that is due before the container has answered.

    Raises ErrorAnswer or CallerCut, or aiohttp.ClientError for a lost connection.
    """
    if strike is None:
        return
    log.info("%s strikes %s", strike.fault, strike.entry.id)
    if strike.kind == "container-error":
        strike.landed()
        raise ErrorAnswer(strike.fault.status)
    if strike.after == 0 and strike.kind != "stream-left":
        await _break(strike, kill, aiohttp.ServerDisconnectedError())


async def spoil(
    strike: Strike | None, source: AsyncIterator[bytes], kill: Callable[[], None]
) -> AsyncIterator[bytes]:
    """Yield the bytes of a response, and carry out the fault after `strike.after` of them.

    Raises CallerCut, or aiohttp.ClientError for a lost connection.
    """
    remaining = strike.after if strike else 0
    due = strike is not None
    async for data in source:
        if strike is None or not due or len(data) < remaining:
            remaining -= len(data)
            yield data
            continue
        if data[:remaining]:
            yield data[:remaining]
        due = False
        async for extra in _spoilt(strike, kill):
            yield extra
        if strike.kind == "container-endless-line":
            return
        if data[remaining:]:
            yield data[remaining:]


async def _spoilt(strike: Strike, kill: Callable[[], None]) -> AsyncIterator[bytes]:
    if strike.after or strike.kind == "stream-left":
        await _break(strike, kill, aiohttp.ClientPayloadError("a fault on demand"))
    if strike.kind == "container-garbage":
        strike.landed()
        yield strike.chance.randbytes(_GARBAGE_BYTES)
    elif strike.kind == "container-endless-line":
        strike.landed()
        for _ in range(_ENDLESS_BYTES // len(_PIECE)):
            yield _PIECE


async def _break(strike: Strike, kill: Callable[[], None], lost: aiohttp.ClientError) -> None:
    match strike.kind:
        case "container-killed":
            strike.landed()
            kill()
            raise lost
        case "container-reset":
            strike.landed()
            raise lost
        case "container-stalled":
            strike.landed()
            await asyncio.sleep(strike.fault.seconds)
        case "stream-cut":
            strike.landed()
            raise CallerCut
        case "stream-left":
            strike.landed()
            raise CallerCut(notify_container=False)
