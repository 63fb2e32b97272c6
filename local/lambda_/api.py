"""lambda:Invoke, and invocations by schedules.

Invoke returns the function's result unchanged. An asynchronous invocation runs once: it is not
repeated after a failure, and there are neither destinations nor dead-letter queues. Source: API
reference, Invoke.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable

from aiohttp import web

from local import bodies
from local.lambda_ import tracing
from local.lambda_.launch import unsupported
from local.lambda_.pool import Pool, Throttled
from local.lambda_.response import FunctionError, Invocation
from local.limits import value

log = logging.getLogger("local.lambda_")


class Invoker:
    """Invokes functions by name or ARN."""

    def __init__(self, find: Callable[[str], Pool | None]) -> None:
        """`find` returns the pool of a function by the function's name, or None."""
        self._find = find
        self._background: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Cancel the asynchronous invocations."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer Invoke."""
        name = _name(request.match_info["name"])
        pool = self._find(name)
        if pool is None:
            return _refuse(404, "ResourceNotFoundException", f"Function not found: {name}")
        if reason := unsupported(pool.function):
            return _refuse(502, "InvalidRuntimeException", reason)
        body = await bodies.read(request, value("lambda_request"))
        if body is None:
            message = (
                f"Request must be smaller than {value('lambda_request')} bytes for the "
                "InvokeFunction operation"
            )
            return _refuse(413, "RequestTooLargeException", message)
        event = body or b"{}"
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if kind == "DryRun":
            return web.Response(status=204)
        if kind == "Event":
            self.later(pool, event)
            return web.Response(status=202)
        return await _answer(pool, event)

    def later(self, pool: Pool, event: bytes) -> None:
        """Invoke the function in the background."""
        task = asyncio.create_task(_quietly(pool, event))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def pool(self, target: str) -> Pool:
        """Return the pool of the function with an ARN.

        Raises FunctionError if there is none.
        """
        pool = self._find(_name(target))
        if pool is None:
            raise FunctionError("ResourceNotFoundException", f"Function not found: {target}")
        return pool


def _name(name: str) -> str:
    """Return the function's name.

    `name` is a name, a partial ARN or an ARN, with or without a qualifier.
    """
    parts = name.split(":")
    return parts[parts.index("function") + 1] if "function" in parts else parts[0]


async def result(pool: Pool, event: bytes, request_id: str = "") -> bytes:
    """Invoke a function; return its result.

    Raises Throttled and FunctionError.
    """
    trace_id = tracing.header(pool.function)
    invocation = Invocation(
        request_id or str(uuid.uuid4()), event, 0, pool.function.arn, trace_id, raw=True
    )
    await pool.invoke(invocation)
    await invocation.response.head
    return b"".join([chunk async for chunk in invocation.response.chunks()])


async def _quietly(pool: Pool, event: bytes) -> None:
    if reason := unsupported(pool.function):
        log.warning("%s", reason)
        return
    try:
        await result(pool, event)
    except (FunctionError, Throttled) as error:
        log.warning("function %s: %r", pool.function.name, error)


async def _answer(pool: Pool, event: bytes) -> web.Response:
    request_id = str(uuid.uuid4())
    headers = {"X-Amz-Executed-Version": "$LATEST", "x-amzn-RequestId": request_id}
    try:
        body = await result(pool, event, request_id)
    except Throttled:
        return _refuse(429, "TooManyRequestsException", "Rate Exceeded.")
    except FunctionError as error:
        own = json.dumps(
            {"errorType": error.kind, "errorMessage": str(error).partition(": ")[2]}
        ).encode()
        headers["X-Amz-Function-Error"] = "Unhandled"
        return web.Response(
            body=error.payload or own, content_type="application/json", headers=headers
        )
    return web.Response(body=body, content_type="application/json", headers=headers)


def _refuse(status: int, kind: str, message: str) -> web.Response:
    body = json.dumps({"Type": "User", "Message": message}).encode()
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        headers={"x-amzn-ErrorType": kind},
    )
