"""Lambda's queue of asynchronous invocations.

A function that fails gets its event again, a minute after the first failure and two minutes after
the second one. An event that meets no free concurrency stays in the queue: it is tried again, from
a second later on to five minutes later, until it is too old. Then it is dropped, and the function's
destination for failures is told, if it has one. There are no dead-letter queues. As on AWS, a
queued event may be lost or come twice: faults do that on demand.

Sources: "How Lambda handles errors and retries with asynchronous invocation" and "Capturing records
of Lambda asynchronous invocations" of the Lambda developer guide.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from local.faults.plan import Plan
from local.lambda_.aliases import Target
from local.lambda_.pool import Throttled
from local.lambda_.response import FunctionError
from local.limits import Limits

log = logging.getLogger("local.lambda_")

_RETRY_AFTER = (60.0, 120.0)
"""Seconds before the two attempts after a function's failure."""
_BACKOFF, _BACKOFF_MAX = 1.0, 300.0

Find = Callable[[], Target | None]
Invoke = Callable[[Target, bytes, str], Awaitable[bytes]]
Tell = Callable[[Target, bytes], None]


class EventQueue:
    """The events that wait, and those whose functions run."""

    def __init__(
        self,
        invoke: Invoke,
        faults: Plan,
        limits: Limits,
        *,
        tell: Tell = lambda _target, _record: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take `invoke`, which invokes a target with an event and the id of its request.

        `tell` takes the record of a failure for the destination of a target that has one. `clock`
        and `sleep` are those of the time in seconds.
        """
        self._invoke = invoke
        self._tell = tell
        self._faults = faults
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Cancel everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def put(self, find: Find, event: bytes, request_id: str = "") -> None:
        """Keep an event for the function that `find` returns when its turn comes.

        All attempts have the same request id.
        """
        target = find()
        name = "" if target is None else target.function.name
        strike = self._faults.strike("event", name, text=event.decode("utf-8", "replace"))
        times, delay = 1, 0.0
        if strike is not None:
            strike.landed()
            log.info("%s strikes", strike.fault)
            times = {"event-lost": 0, "event-repeated": 2}.get(strike.kind, 1)
            delay = strike.fault.seconds if strike.kind == "event-late" else 0.0
        for _ in range(times):
            task = asyncio.create_task(self._run(find, event, request_id, delay))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, find: Find, event: bytes, request_id: str, delay: float) -> None:
        request_id = request_id or str(uuid.uuid4())
        failures, throttled, error = 0, 0, None
        if delay:
            await self._sleep(delay)
        came = self._clock()  # the time in which a fault holds an event does not count
        while (target := find()) is not None:
            function = target.function
            try:
                await self._invoke(target, event, request_id)
            except Throttled:
                pause = min(_BACKOFF * 2**throttled, _BACKOFF_MAX)
                throttled += 1
            except FunctionError as failed:
                error = failed
                log.warning("function %s: %r", function.name, error)
                failures += 1
                if failures > function.event_retries:
                    break
                pause = _RETRY_AFTER[failures - 1]
            else:
                return
            pause = self._limits.real(pause)
            if self._clock() - came + pause > self._limits.real(function.event_age):
                break
            await self._sleep(pause)
        log.warning("event %s: dropped", request_id)
        if target is not None and target.function.event_failure is not None:
            self._tell(target, _record(target, event, request_id, failures, error))


def _record(
    target: Target, event: bytes, request_id: str, failures: int, error: FunctionError | None
) -> bytes:
    """Return what a destination is told of an event that was dropped after some failures."""
    function = target.function
    is_exhausted = error is not None and failures > function.event_retries
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{function.arn.partition(f':{function.name}')[0]}:{function.name}"
            f":{function.version}",
            "condition": "RetriesExhausted" if is_exhausted else "EventAgeExceeded",
            "approximateInvokeCount": failures,
        },
        "requestPayload": json.loads(event),
    }
    if error is not None:
        record["responseContext"] = {
            "statusCode": 200,
            "executedVersion": function.version,
            "functionError": "Unhandled",
        }
        record["responsePayload"] = json.loads(error.payload or json.dumps(error.as_json()))
    return json.dumps(record).encode()
