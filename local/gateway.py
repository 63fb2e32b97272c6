"""The one address of all AWS APIs.

Requests for a data plane go there, all others to the control plane.
"""

import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Protocol

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Middleware
from yarl import URL

from local import bedrock, bodies, otlp_metrics, trust, xray
from local.faults import api, dynamodb
from local.faults.plan import Plan

log = logging.getLogger("local.gateway")

_YEAR_3000 = 32_503_680_000

# These headers belong to one connection. A proxy passes on all others.
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
}
_NOT_ON = {*_HOP_BY_HOP, trust.CONTROL}
# Bodies up to this size are sent in one piece, which is faster.
_SMALL = 256 * 1024
# Connections to moto, which handles one request in a thread. More requests at once would only wait
# inside moto.
_CONNECTIONS = 16


class Control(Protocol):
    """The control plane: its address, and the headers that it requires."""

    url: str
    headers: dict[str, str]

    async def get_json(self, path: str, **query: str) -> Any:
        """Return the JSON of a path below `/_control/`."""
        ...

    async def post(self, path: str, value: object) -> None:
        """Send JSON to a path below `/_control/`."""
        ...


class Gateway:
    """The aiohttp application that serves this address."""

    def __init__(
        self,
        control: Control,
        invoke: trust.Handler,
        invoke_function: trust.Handler,
        status: Callable[[], object],
        authorize: Middleware,
        faults: Plan,
        kill: dynamodb.Kill,
    ) -> None:
        """`invoke` answers the SageMaker runtime's calls, `invoke_function` Lambda's.

        `status` returns the JSON of `/_local/status`. `authorize` passes a request on or refuses
        it; `local.bodies` keeps a body that it has read. `kill` ends the function environment that
        has an access key, for a fault.
        """
        self._control = control
        self._status = status
        self.app = web.Application(client_max_size=0, middlewares=[trust.programs_only, authorize])
        self.app.router.add_get("/_local/status", self._show_status)
        self.app.router.add_get("/_local/alarms", self._show_alarms)
        self.app.router.add_routes(api.routes(faults))
        self.app.router.add_post("/endpoints/{name}/invocations", invoke)
        self.app.router.add_post("/endpoints/{name}/invocations-response-stream", invoke)
        self.app.router.add_post("/2015-03-31/functions/{name}/invocations", invoke_function)
        self.app.router.add_post("/guardrail/{id}/version/{version}/apply", bedrock.apply)
        log = partial(control.post, "telemetry")
        self.app.router.add_post("/v1/traces", xray.spans(log).take)
        self.app.router.add_post("/v1/metrics", otlp_metrics.metrics(log).take)
        self.app.router.add_route("*", "/{path:.*}", dynamodb.around(faults, self._forward, kill))
        self.app.cleanup_ctx.append(self._client)

    async def _client(self, _app: web.Application) -> AsyncIterator[None]:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=5),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        yield
        await self._session.close()

    async def _show_status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._status())

    async def _show_alarms(self, request: web.Request) -> web.Response:
        """Answer with the states of all alarms, evaluated as at the time `now`, if it is given."""
        try:
            now = float(request.query.get("now") or time.time())
        except ValueError:
            now = math.nan
        if not 0 <= now < _YEAR_3000:
            return web.json_response({"message": "now: must be a time in Unix seconds"}, status=400)
        return web.json_response(await self._control.get_json("alarms", now=str(now)))

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to the control plane with its own Host, because moto reads it.

        Large bodies are streamed.
        """
        headers = [
            (name, value) for name, value in request.headers.items() if name.lower() not in _NOT_ON
        ]
        headers += self._control.headers.items()
        body: Any = bodies.cached(request)
        if body is None and request.body_exists:
            small = (request.content_length or _SMALL + 1) <= _SMALL
            body = await request.read() if small else request.content
        try:
            async with self._session.request(
                request.method,
                URL(self._control.url + request.raw_path, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
            ) as upstream:
                passed_on = [
                    (name, value)
                    for name, value in upstream.headers.items()
                    if name.lower() not in _HOP_BY_HOP
                ]
                if (upstream.content_length or _SMALL + 1) <= _SMALL and request.method != "HEAD":
                    small_response = web.Response(
                        status=upstream.status, reason=upstream.reason, body=await upstream.read()
                    )
                    small_response.headers.extend(passed_on)
                    return small_response
                response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
                response.headers.extend(passed_on)
                await response.prepare(request)
                if request.method != "HEAD":
                    async for chunk in upstream.content.iter_any():
                        await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientConnectionResetError:  # the client has left
            return web.Response()
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning(
                "the control plane does not answer to %s %s: %s",
                request.method,
                request.path,
                error,
            )
            return web.json_response(
                {
                    "message": (
                        "the local cloud's control plane does not answer; its log is "
                        f"logs/control.log: {error}"
                    )
                },
                status=503,
            )
