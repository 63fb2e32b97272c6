"""Requests to the container in tests, and readers of its answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.model import Container, scripted, until

if TYPE_CHECKING:
    import httpx

ENDLESS = scripted(repeat=" w", count=100_000, rate=50)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the error of an answer. It must have OpenAI's four keys."""
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def first_record(lines: Any) -> dict[str, Any]:
    """Return the next record of a stream, without heartbeats.

    The caller must keep `lines`: a stream that is garbage-collected is closed.
    """
    async for line in lines:
        if line:
            record: dict[str, Any] = json.loads(line)
            return record
    raise AssertionError("the stream has ended")


async def running(container: Container, count: int) -> None:
    """Wait until this number of requests runs in the engine."""
    await until(lambda: container.engine.active == count)
