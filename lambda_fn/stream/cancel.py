"""Takes back what was asked of a model, when its answer was left before the end.

Whether SageMaker tells the container that nobody reads its answer is not known, so the container is told by a call of
its own, which frees the sequence within one step. Such a call reaches one instance of several: one with the fewest
requests under way, so rather not the one at work. The container keeps a call that it cannot place for a second, in
which it counts as a request there. So the next calls, sent meanwhile, reach the others, until one says that it was it.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from lambda_fn import limits
from lambda_fn.errors import APIError
from lambda_fn.log import log
from lambda_fn.stream.invoke import Invocation

_MAX_ANSWER = 1_000


class _Answer(msgspec.Struct):
    cancelled: bool = False


async def cancel(invoke: Callable[[], Invocation], request_id: str) -> bool:
    """Cancel a request, wherever it runs; give whether an instance says that it had it. Never raises.

    Args:
        invoke: Prepares the call that cancels, anew for each try.
        request_id: For the log.

    """
    asked: set[asyncio.Task[bool]] = set()
    tries, cancelled = 0, False
    began = time.monotonic()
    try:
        while not cancelled and (asked or tries < limits.CANCEL_MAX_ATTEMPTS):
            now = time.monotonic()
            left = began + limits.CANCEL_TIMEOUT - now
            pause = began + tries * limits.CANCEL_INTERVAL - now if tries < limits.CANCEL_MAX_ATTEMPTS else left
            if left <= 0:
                break
            if pause <= 0:
                tries += 1
                asked.add(asyncio.create_task(_ask(invoke())))
            elif not asked:
                await asyncio.sleep(min(pause, left))
            else:
                done, asked = await asyncio.wait(asked, timeout=min(pause, left), return_when=asyncio.FIRST_COMPLETED)
                cancelled = any(task.result() for task in done)
    finally:
        for task in asked:
            task.cancel()
    log("cancel", request_id=request_id, cancelled=cancelled, tries=tries)
    return cancelled


async def _ask(invocation: Invocation) -> bool:
    answer = b""
    try:
        async with invocation:
            until = time.monotonic() + limits.CANCEL_TIMEOUT
            while (data := await invocation.read(until)) and len(answer) < _MAX_ANSWER:
                answer += data
        return msgspec.json.decode(answer, type=_Answer).cancelled
    except (APIError, msgspec.DecodeError):
        return False
