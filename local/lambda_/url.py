"""Function URLs. All have one listener, which finds the function by the Host header."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable
from functools import partial

from aiohttp import web

from local import bodies, listeners, trust
from local.faults.plan import Plan
from local.iam.urls import FORBIDDEN, open_to_all
from local.lambda_ import tracing
from local.lambda_.aliases import Target
from local.lambda_.event import UrlRequest, build
from local.lambda_.faults import response as new_response
from local.lambda_.launch import unsupported
from local.lambda_.pool import Throttled
from local.lambda_.response import FunctionError, Invocation, Response
from local.limits import Limits, value

log = logging.getLogger("local.lambda_")

_MAX_BODY = value("lambda_request")
# An address of CloudFront, as the source of requests from the edge. Here the edge itself has the
# viewer's address, which it never has on AWS.
_EDGE = "130.176.0.1"
# The listener sets these headers itself.
_OWN_HEADERS = {"content-length", "transfer-encoding", "connection", "keep-alive", "date"}

_FAILURES = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    502: "Internal Server Error",
}


def _refuse(status: int, message: str) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps({"Message": message}).encode(),
        content_type="application/json",
    )


def failed(status: int) -> web.Response:
    """Return Lambda's response for a request that could not be read or handled."""
    return _refuse(status, _FAILURES[status])


def handler(
    find: Callable[[str], Target | None],
    faults: Plan,
    limits: Limits,
    hop: str,
    count: Callable[[Target, str, float], None],
) -> listeners.Handler:
    """Return the request handler.

    `find` returns the function with a URL's host name. A request with the secret `hop` comes from
    the edge. `count` is called with names and values of metrics: `ConcurrentExecutions`,
    `Throttles`, `Errors` and `Url5xxCount`.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        if not trust.matches_secret(request.headers.get(trust.HOP), hop) and (
            reason := trust.from_page(request.headers)
        ):
            return _refuse(403, trust.words(reason))
        host = request.host.partition(":")[0]
        target = find(host)
        if target is None:
            return _refuse(404, f"no function has the URL https://{host}/")
        function = target.function
        if reason := unsupported(function):
            log.warning("%s", reason)
            return _refuse(501, reason)
        if function.auth_type != "NONE":
            return _refuse(403, "Forbidden")
        if not open_to_all(function.policy, function.arn):
            log.warning("AccessDenied: the policy of %s does not open its URL to all", function.arn)
            return _refuse(403, FORBIDDEN)
        body = await bodies.read(request, _MAX_BODY)
        if body is None:
            return _refuse(
                413, "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
            )
        return await _invoke(request, host, body, target, faults, limits, partial(count, target))

    return handle


async def _invoke(
    request: web.Request,
    host: str,
    body: bytes,
    target: Target,
    faults: Plan,
    limits: Limits,
    count: Callable[[str, float], None],
) -> web.StreamResponse:
    now = time.time()
    function = target.function
    trace_id = tracing.header(function)
    path, query = listeners.target_of(request)
    request_id = str(uuid.uuid4())
    event = build(
        UrlRequest(
            method=request.method,
            path=path,
            query=query,
            headers=tuple(
                (name, value)
                for name, value in request.headers.items()
                if name.lower() != trust.HOP
            ),
            body=body,
            source_ip=_EDGE if "X-Amz-Cf-Id" in request.headers else request.remote or "127.0.0.1",
            host=host,
            received=now,
        ),
        request_id,
        trace_id,
    )
    response = new_response(faults, function.name)
    invocation = Invocation(request_id, event, 0, function.arn, trace_id, response=response)
    try:
        await target.pool.invoke(invocation)
        count("ConcurrentExecutions", target.pool.invocations)
        head = await response.head
    except Throttled:
        count("Throttles", 1)
        return _refuse(429, "Rate Exceeded.")
    except FunctionError as error:
        log.warning("function %s %s: %s", function.name, request_id, error)
        count("Errors", 1)
        count("Url5xxCount", 1)
        return _refuse(502, "Internal Server Error")
    if head.status >= 500:
        count("Url5xxCount", 1)
    answer = web.StreamResponse(status=head.status)
    for name, text in head.headers.items():
        if name.lower() not in _OWN_HEADERS:
            answer.headers.add(name, text)
    for cookie in head.cookies:
        answer.headers.add("Set-Cookie", cookie)
    answer.headers["x-amzn-RequestId"] = request_id
    answer.headers["X-Amzn-Trace-Id"] = trace_id
    await _send(request, answer, response, function.name, _Pace(limits), count)
    return answer


class _Pace:
    """Lambda's bandwidth: after the first 6 MB of a response, bytes wait."""

    def __init__(self, limits: Limits) -> None:
        self._left = value("lambda_stream_burst")
        self._rate = limits.rate("lambda_stream_rate")
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            now = asyncio.get_running_loop().time()
            over, self._left = -self._left, 0
            self._free_at = max(self._free_at, now) + over / self._rate
            await asyncio.sleep(self._free_at - now)


async def _send(
    request: web.Request,
    answer: web.StreamResponse,
    response: Response,
    name: str,
    pace: _Pace,
    count: Callable[[str, float], None],
) -> None:
    try:
        await answer.prepare(request)
        if answer.status not in {204, 304} and request.method != "HEAD":
            async for chunk in response.chunks():
                await pace.take(len(chunk))
                await answer.write(chunk)
        await answer.write_eof()
    except FunctionError as error:
        count("Errors", 1)
        log.warning(
            "function %s: %s, after the response had begun: the connection is cut", name, error
        )
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        log.info("function %s: the client is gone; the function is not told", name)
    finally:
        response.discard()
