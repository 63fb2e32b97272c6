"""Cancels a request in the model's container when its response ends early.

It is not known whether SageMaker tells the container that a response is no longer read. So the
container gets a separate call, which frees the sequence within one step.

An endpoint of several instances sends the call to the one with the fewest requests in progress,
which is rarely the one that runs the request. The container holds a call whose request it does not
run for a second, and the call counts there as a request in progress. So the next calls reach the
other instances, until one confirms the cancel.

A call that fails is not held: SageMaker throttles, or an instance is starting or has ended. It says
nothing about the request, so another call is made for it. If SageMaker knows no such endpoint, or
does not let this function invoke it, there is nothing to cancel, and no other call is made.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from lambda_fn import limits
from lambda_fn.errors import APIError
from lambda_fn.log import log
from lambda_fn.stream.invoke import Invocation

_MAX_RESPONSE = 1_000


_Answer = bool | Literal["none"] | None


class _Response(msgspec.Struct):
    cancelled: bool = False


async def cancel(invoke: Callable[[], Invocation], request_id: str) -> bool:
    """Cancel a request, and return whether an instance confirmed that. It never raises.

    Args:
        invoke: Returns a new call that cancels.
        request_id: Names the request in the log.

    """
    calls: set[asyncio.Task[_Answer]] = set()
    attempts, failed, cancelled = 0, 0, False
    began = time.monotonic()
    try:
        while not cancelled:
            more = attempts < limits.CANCEL_MAX_ATTEMPTS + min(failed, limits.CANCEL_MAX_ATTEMPTS)
            if not more and not calls:
                break
            now = time.monotonic()
            remaining = began + limits.CANCEL_TIMEOUT - now
            pause = began + _due(attempts) - now if more else remaining
            if remaining <= 0:
                break
            if pause <= 0:
                attempts += 1
                calls.add(asyncio.create_task(_call(invoke())))
            elif not calls:
                await asyncio.sleep(min(pause, remaining))
            else:
                done, calls = await asyncio.wait(
                    calls, timeout=min(pause, remaining), return_when=asyncio.FIRST_COMPLETED
                )
                results = [task.result() for task in done]
                cancelled = True in results
                if "none" in results:
                    break
                failed += results.count(None)
    finally:
        for task in calls:
            task.cancel()
    log("cancel", request_id=request_id, cancelled=cancelled, tries=attempts, failed=failed)
    return cancelled


def _due(attempts: int) -> float:
    """Return the seconds after the first call at which the call after so many is due."""
    if not attempts:
        return 0.0
    return limits.CANCEL_FIRST_INTERVAL + (attempts - 1) * limits.CANCEL_INTERVAL


async def _call(invocation: Invocation) -> _Answer:
    """Return whether an instance confirms the cancel.

    It is None if the call fails, and "none" if there is no endpoint that may be invoked.
    """
    body = b""
    try:
        async with invocation:
            deadline = time.monotonic() + limits.CANCEL_TIMEOUT
            while (data := await invocation.read(deadline)) and len(body) < _MAX_RESPONSE:
                body += data
        return msgspec.json.decode(body, type=_Response).cancelled
    except APIError:
        return "none" if invocation.is_refused else None
    except msgspec.DecodeError:
        return None
