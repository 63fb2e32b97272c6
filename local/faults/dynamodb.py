"""Faults of tables, as DynamoDB's own errors, between the caller and the control plane.

Source: "Error handling with DynamoDB" of its developer guide, which has their shape, statuses and
messages.
"""

import asyncio
import json
import logging
import re
import uuid
import zlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from local import bodies
from local.faults.plan import Plan, Strike

log = logging.getLogger("local.faults")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Kill = Callable[[str], bool]
"""Kills the function environment that has an access key; returns whether there was one."""

_KEY = re.compile(r"Credential=([^/,\s]+)/")
_TARGET = "DynamoDB_20120810."
_PREFIX = "com.amazonaws.dynamodb.v20120810#"
# Only bodies of up to this many bytes are searched for table names. Faults strike no larger calls.
_READ = 256 * 1024
_THROTTLED = (
    "You exceeded your maximum allowed provisioned throughput for a table or for one or more "
    "global secondary indexes."
)
_ERRORS = {
    "table-throttled": (400, "ProvisionedThroughputExceededException", _THROTTLED),
    "table-down": (
        500,
        "InternalServerError",
        "The server encountered an internal error trying to fulfill the request.",
    ),
}


def around(plan: Plan, forward: Handler, kill: Kill) -> Handler:
    """Return a handler that lets faults strike DynamoDB calls and passes on all other requests."""

    async def handle(request: web.Request) -> web.StreamResponse:
        strike = await _strike(plan, request) if plan.watches("table") else None
        return await (_struck(strike, request, forward, kill) if strike else forward(request))

    return handle


async def _strike(plan: Plan, request: web.Request) -> Strike | None:
    target = request.headers.get("X-Amz-Target", "")
    if not target.startswith(_TARGET) or (request.content_length or _READ + 1) > _READ:
        return None
    operation = target.removeprefix(_TARGET)
    try:
        body = (await bodies.read(request, _READ) or b"").decode()
        call = json.loads(body)
    except ValueError:
        return None
    for table in sorted(_tables(call)):
        if strike := plan.strike("table", table, operation, body):
            return strike
    return None


def _tables(call: object) -> set[str]:
    """Return all values of TableName at any depth, and the keys of RequestItems."""
    tables: set[str] = set()
    if isinstance(call, list):
        tables.update(*(_tables(item) for item in call))
    elif isinstance(call, dict):
        if isinstance(name := call.get("TableName"), str):
            return {name.rpartition("/")[2]}
        if isinstance(items := call.get("RequestItems"), dict):
            return {name.rpartition("/")[2] for name in items}
        tables.update(*(_tables(item) for item in call.get("TransactItems", [])))
        tables.update(*(_tables(item) for item in call.values() if isinstance(item, dict)))
    return tables


async def _struck(
    strike: Strike, request: web.Request, forward: Handler, kill: Kill
) -> web.StreamResponse:
    log.info("%s strikes %s", strike.fault, request.headers["X-Amz-Target"])
    if strike.kind.startswith("caller-killed"):
        return await _killed(strike, request, forward, kill)
    strike.landed()
    if strike.kind == "table-slow":
        await asyncio.sleep(strike.fault.seconds)
        return await forward(request)
    if strike.kind in _ERRORS:
        return _error(*_ERRORS[strike.kind])
    response = (
        await forward(request) if strike.kind == "table-answer-lost" else web.Response(status=500)
    )
    if request.transport is not None:
        request.transport.abort()
    return response


async def _killed(
    strike: Strike, request: web.Request, forward: Handler, kill: Kill
) -> web.StreamResponse:
    """Kill the function that made the call.

    Another kind of caller survives, and its call is made.
    """
    match = _KEY.search(request.headers.get("Authorization", ""))
    key = match[1] if match else ""
    if strike.kind == "caller-killed-before":
        # The function's other work goes on meanwhile.
        await asyncio.sleep(strike.fault.seconds)
        if kill(key):
            strike.landed()
            return web.Response(status=500)
        return await forward(request)
    response = await forward(request)
    if kill(key):
        strike.landed()
    return response


def _error(status: int, kind: str, message: str) -> web.Response:
    body = json.dumps({"__type": _PREFIX + kind, "message": message}).encode()
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "x-amzn-RequestId": uuid.uuid4().hex.upper(),
        "x-amz-crc32": str(zlib.crc32(body)),
    }
    return web.Response(status=status, body=body, headers=headers)
