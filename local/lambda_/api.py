"""lambda:Invoke, and invocations by schedules.

Invoke returns the function's result unchanged, or puts an event into the queue of asynchronous
invocations (`event_queue`). Source: API reference, Invoke.
"""

import json
import logging
import uuid
from collections.abc import Callable
from functools import partial

from aiohttp import web

from local import bodies
from local.faults.plan import Plan
from local.lambda_ import tracing
from local.lambda_.aliases import Target
from local.lambda_.event_queue import EventQueue
from local.lambda_.launch import unsupported
from local.lambda_.pool import Throttled
from local.lambda_.response import FunctionError, Invocation
from local.limits import Limits, value

log = logging.getLogger("local.lambda_")


class Invoker:
    """Invokes functions by name or ARN, with or without a version or an alias."""

    def __init__(
        self,
        find: Callable[[str, str], Target | None],
        faults: Plan,
        limits: Limits,
        refused: Callable[[str, str], str | None],
    ) -> None:
        """`find` returns the target of a function's name and its version or alias, or None.

        `refused` returns the reason why a role may not invoke a function, both by their ARNs, or
        None.
        """
        self._find = find
        self._refused = refused
        self._queue = EventQueue(result, faults, limits, tell=self._tell)

    async def stop(self) -> None:
        """Cancel the asynchronous invocations."""
        await self._queue.stop()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer Invoke."""
        name, qualifier = _name(request.match_info["name"])
        find = partial(self._find, name, request.query.get("Qualifier") or qualifier)
        target = find()
        if target is None:
            return _refuse(404, "ResourceNotFoundException", f"Function not found: {name}")
        if reason := unsupported(target.function):
            return _refuse(502, "InvalidRuntimeException", reason)
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        most = value("lambda_event" if kind == "Event" else "lambda_request")
        body = await bodies.read(request, most)
        if body is None:
            message = f"Request must be smaller than {most} bytes for the InvokeFunction operation"
            return _refuse(413, "RequestTooLargeException", message)
        event = body or b"{}"
        if kind == "DryRun":
            return web.Response(status=204)
        if kind == "Event":
            request_id = str(uuid.uuid4())
            self._queue.put(find, event, request_id)
            return web.Response(status=202, headers={"x-amzn-RequestId": request_id})
        return await _answer(target, event)

    def later(self, arn: str, event: bytes) -> None:
        """Invoke the function with an ARN in the background."""
        self._queue.put(partial(self._find, *_name(arn)), event)

    def _tell(self, failed: Target, record: bytes) -> None:
        """Invoke the destination of a function's failures, by the function's own role."""
        to = failed.function.event_failure or ""
        if reason := self._refused(failed.function.role, to):
            log.warning("AccessDenied: %s", reason)
            return
        self.later(to, record)

    def target(self, arn: str) -> Target:
        """Return the target of the function with an ARN.

        Raises FunctionError if there is none.
        """
        target = self._find(*_name(arn))
        if target is None:
            raise FunctionError("ResourceNotFoundException", f"Function not found: {arn}")
        return target


def _name(name: str) -> tuple[str, str]:
    """Return a function's name and its version or alias.

    `name` is a name, a partial ARN or an ARN. Without a qualifier, it means `$LATEST`.
    """
    parts = name.split(":")
    named = parts[parts.index("function") + 1 :] if "function" in parts else parts
    return named[0], named[1] if len(named) > 1 else "$LATEST"


async def result(target: Target, event: bytes, request_id: str = "") -> bytes:
    """Invoke a function; return its result.

    Raises Throttled and FunctionError.
    """
    if reason := unsupported(target.function):
        raise FunctionError("InvalidRuntimeException", reason)
    trace_id = tracing.header(target.function)
    invocation = Invocation(
        request_id or str(uuid.uuid4()), event, 0, target.function.arn, trace_id, raw=True
    )
    await target.pool.invoke(invocation)
    await invocation.response.head
    return b"".join([chunk async for chunk in invocation.response.chunks()])


async def _answer(target: Target, event: bytes) -> web.Response:
    request_id = str(uuid.uuid4())
    headers = {"X-Amz-Executed-Version": target.function.version, "x-amzn-RequestId": request_id}
    try:
        body = await result(target, event, request_id)
    except Throttled:
        return _refuse(429, "TooManyRequestsException", "Rate Exceeded.")
    except FunctionError as error:
        headers["X-Amz-Function-Error"] = "Unhandled"
        return web.Response(
            body=error.payload or json.dumps(error.as_json()).encode(),
            content_type="application/json",
            headers=headers,
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
