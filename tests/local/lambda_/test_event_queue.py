"""The queue of asynchronous invocations: retries, age, and faults. Its clock is moved by hand."""

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest

from local.faults.plan import Plan, parse
from local.lambda_.aliases import Target
from local.lambda_.event_queue import EventQueue
from local.lambda_.pool import Pool, Throttled
from local.lambda_.response import FunctionError
from local.limits import Limits
from tests.support.function_plane import FUNCTION

FAILED = FunctionError("Runtime.ExitError", "it crashed")


class Queue:
    """A queue whose function does what the test lists, and whose time passes in sleeps only."""

    def __init__(self, *results: Exception | None, **settings: int | str) -> None:
        """`results` are those of the attempts; the last one repeats. None is a success."""
        self.faults = Plan()
        self.now = 1000.0
        self.times: list[float] = []
        self.ids: set[str] = set()
        self._results = iter(results)
        self._last: Exception | None = None
        function = replace(FUNCTION, **cast("dict[str, Any]", settings))
        self._target: Target | None = Target(cast("Pool", None), function, function.name)
        self.told: list[dict[str, Any]] = []
        self.queue = EventQueue(
            *(self._invoke, self.faults, Limits()),
            tell=lambda _target, record: self.told.append(json.loads(record)),
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    async def _invoke(self, target: Target, event: bytes, request_id: str) -> bytes:
        self.times.append(self.now - 1000)
        self.ids.add(request_id)
        self._last = next(self._results, self._last)
        if self._last is not None:
            raise self._last
        return b"null"

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def delete(self) -> None:
        """Delete the function."""
        self._target = None

    async def put(self) -> list[float]:
        """Put an event, and return the times of its attempts in seconds from now."""
        self.queue.put(lambda: self._target, b'{"a": 1}', "r1")
        await asyncio.gather(*self.queue._tasks)
        return self.times


@pytest.mark.parametrize(
    ("results", "settings", "times"),
    [
        ([None], {}, [0]),
        ([FAILED, None], {}, [0, 60]),
        ([FAILED], {}, [0, 60, 180]),
        ([FAILED], {"event_retries": 0}, [0]),
        ([FAILED], {"event_retries": 2, "event_age": 60}, [0, 60]),
        ([Throttled(), Throttled(), None], {"event_retries": 0}, [0, 1, 3]),
        ([Throttled()], {"event_retries": 0, "event_age": 60}, [0, 1, 3, 7, 15, 31]),
        ([Throttled(), FAILED, None], {"event_retries": 1}, [0, 1, 61]),
    ],
)
async def test_attempts(
    results: list[Exception | None], settings: dict[str, int], times: list[float]
) -> None:
    """An event is tried again as the function's settings say, with the same request id."""
    queue = Queue(*results, **settings)
    assert await queue.put() == times
    assert queue.ids == {"r1"}


@pytest.mark.parametrize(
    ("result", "condition", "count"),
    [(FAILED, "RetriesExhausted", 2), (Throttled(), "EventAgeExceeded", 0)],
)
async def test_a_destination(result: Exception, condition: str, count: int) -> None:
    """The destination of failures gets one record of an event that is dropped, in AWS's form."""
    queue = Queue(result, event_retries=1, event_age=100, event_failure="arn:aws:lambda:::to")
    await queue.put()
    [record] = queue.told
    assert record["version"] == "1.0"
    assert record["requestContext"] == {
        "requestId": "r1",
        "functionArn": f"{FUNCTION.arn}:$LATEST",
        "condition": condition,
        "approximateInvokeCount": count,
    }
    assert record["requestPayload"] == {"a": 1}
    assert ("responseContext" in record) == (result is FAILED)
    if result is FAILED:
        assert record["responsePayload"] == {
            "errorType": "Runtime.ExitError",
            "errorMessage": "it crashed",
        }


@pytest.mark.parametrize("results", [[None], [FAILED, None]])
async def test_no_destination(results: list[Exception | None]) -> None:
    """Neither a success nor a failure that a retry makes up for is told."""
    queue = Queue(*results, event_failure="arn:aws:lambda:::to")
    await queue.put()
    assert queue.told == []


async def test_pauses_have_a_maximum() -> None:
    """An event without free concurrency is tried every five minutes until it is six hours old."""
    times = await Queue(Throttled()).put()
    assert max(b - a for a, b in pairwise(times)) == 300
    assert 21_300 < times[-1] <= 21_600


async def test_a_deleted_function() -> None:
    """The event of a function that does not exist any more is dropped."""
    queue = Queue(None)
    queue.delete()
    assert await queue.put() == []


@pytest.mark.parametrize(
    ("kind", "times"), [("event-lost", []), ("event-repeated", [0, 0]), ("event-late", [7])]
)
async def test_faults(kind: str, times: list[float]) -> None:
    """A fault loses, repeats or delays the event that it strikes, and no other one."""
    queue = Queue(None)
    queue.faults.set(parse({"kind": kind, "scope": "small", "containing": '"a"', "seconds": 7}))
    assert await queue.put() == times
    assert queue.faults.listing()[0]["landed"] == 1
    queue.times.clear()
    assert len(await queue.put()) == 1


async def test_stop() -> None:
    """Events that wait are dropped when the local cloud stops."""
    queue = Queue(None)
    started = asyncio.Event()

    async def forever(seconds: float) -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    queue.queue._sleep = forever
    queue.faults.set(parse({"kind": "event-late"}))
    queue.queue.put(lambda: queue._target, b"{}")
    await started.wait()
    await queue.queue.stop()
    assert queue.times == []
