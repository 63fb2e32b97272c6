"""Invocations that the Runtime API offers to a runtime."""

import asyncio

import pytest

from local.lambda_.response import FunctionError, Invocation
from tests.support.lambda_runtime import BASE, NAMED, Runtime


async def test_next(runtime: Runtime) -> None:
    """`next` waits for an invocation and carries its event and headers."""
    _, response = await runtime.next()
    assert response.endswith(b'\r\n\r\n{"event":1}')
    for header in (
        b"Request-Id: id-1",
        b"Deadline-Ms: 123",
        b"Invoked-Function-Arn: arn",
        b"Trace-Id: trace",
    ):
        assert header in response


async def test_a_runtime_that_hung_up(runtime: Runtime) -> None:
    """If a runtime closes its connection while it waits, the next invocation fails."""
    _, writer = await runtime.open()
    writer.write(f"GET {BASE}invocation/next HTTP/1.1\r\nHost: 127.0.0.1:{NAMED}\r\n\r\n".encode())
    await runtime.asked.wait()
    writer.close()
    while runtime.api._waiting:  # noqa: ASYNC110 - the other end's work
        await asyncio.sleep(0)
    invocation = Invocation("id-1", b"{}", 0, "arn", "trace")
    runtime.api.offer(invocation)
    with pytest.raises(FunctionError, match="no longer waits"):
        await invocation.response.head
