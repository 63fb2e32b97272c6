"""The data plane of WebSocket APIs: a listener for each deployed API.

`ws://localhost:PORT/STAGE` takes connections, and `http://localhost:PORT/STAGE/@connections/ID` the
calls of backends. As on AWS, pages of any origin may connect: what an API accepts is up to the
function of `$connect`. A Host that is not the listener's is refused, so that a name that was
pointed at this machine (DNS rebinding) reaches nothing.
"""

import asyncio
import contextlib
import json
import logging
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from local import listeners, trust
from local.apigateway import config, events, frames, management
from local.apigateway.config import Api, ConfigError, Stage, parse
from local.apigateway.connections import Connection, Connections
from local.apigateway.integrations import Failed, Integrations, Invoker
from local.apigateway.rates import Bucket
from local.apigateway.templates import render
from local.faults.plan import Plan
from local.limits import Limits, value
from local.shipper import Shipper

log = logging.getLogger("local.apigateway")

# In bytes, the same as at a distribution.
_LONGEST_HEAD = 65_536
_TICK_S = 1.0
# Messages of one connection whose integrations run. A client that sends more is not read.
_AT_ONCE = 100
# Seconds for which the answer to a close frame is awaited: less than a listener's shutdown takes.
_CLOSING_S = 0.5
_FAILURES = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    502: "Internal server error",
}


@dataclass
class _Served:
    """An API with its listener. `reason` says why it cannot be served, or is None."""

    port: int
    runner: web.ServerRunner
    content: dict[str, Any] = field(default_factory=dict)
    api: Api | None = None
    reason: str | None = None
    buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)


class Gateways:
    """All WebSocket APIs."""

    def __init__(
        self,
        functions: Invoker,
        permit: management.Permit,
        faults: Plan,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        names: Collection[str] = (),
        shipper: Shipper | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take `functions`, Lambda's data plane.

        `permit` checks the signature and the permissions of `@connections` calls. `tls` is the
        context of the listeners, None means `ws:`. `names` are host names in addition to those of
        loopback. `shipper` takes metrics and access logs. `clock` returns seconds.
        """
        self._limits = limits or Limits()
        self._clock = clock
        self._permit = permit
        self._faults = faults
        self._integrations = Integrations(functions, faults, self._limits)
        self._tls = tls
        self._names = frozenset(names)
        self._shipper = shipper
        self._served: dict[str, _Served] = {}
        self._ticker: asyncio.Task[None] | None = None
        self.connections = Connections(self._limits, clock)
        # The account's rates, which all APIs share.
        self._rate = Bucket(self._limits.rate("apigateway_rate"), value("apigateway_burst"))
        opened = self._limits.rate("apigateway_connects")
        self._opened = Bucket(opened, opened)

    async def start(self) -> None:
        """Begin to watch idle and total times."""
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Close all connections and listeners."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        self.connections.close_all()
        for served in self._served.values():
            await served.runner.cleanup()
        if self._shipper is not None:
            await self._shipper.flush()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(_TICK_S, self._limits.seconds("apigateway_idle") / 10))
            self.connections.expire()

    async def apply(self, apis: tuple[dict[str, Any], ...]) -> None:
        """Add listeners for new APIs, change others, and close those that are gone."""
        ids = {content["id"] for content in apis}
        for key in [key for key in self._served if key not in ids]:
            self.connections.close_all(key)
            await self._served.pop(key).runner.cleanup()
        for content in apis:
            key = content["id"]
            if key not in self._served:
                self._served[key] = await self._listen(key)
            served = self._served[key]
            if content == served.content:
                continue
            served.content, served.buckets = content, {}
            try:
                served.api, served.reason = parse(content), None
            except ConfigError as error:
                served.api, served.reason = None, str(error)
                log.warning("API %s: %s", key, error)

    async def _listen(self, key: str) -> _Served:
        sock = listeners.bind([0])
        port = int(sock.getsockname()[1])

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(self._served[key], request)

        runner = await listeners.serve_plane(
            handle,
            sock,
            fail=failed,
            cancel=True,
            longest_head=_LONGEST_HEAD,
            body_s=self._limits.seconds("request_body"),
            tls=self._tls,
        )
        log.info("API %s: listening at %s", key, self._address(port))
        return _Served(port, runner)

    def _address(self, port: int) -> str:
        return f"{'wss' if self._tls else 'ws'}://localhost:{port}"

    def observe(self) -> dict[str, dict[str, Any]]:
        """Return address and failure reason of each API."""
        return {
            key: {"endpoint": self._address(served.port), "reason": served.reason}
            for key, served in self._served.items()
        }

    def status(self) -> list[dict[str, Any]]:
        """Return the APIs for `/_local/status`."""
        return [
            {"id": key, "url": self._address(served.port), "connections": len(self.connections)}
            for key, served in self._served.items()
        ]

    async def _handle(self, served: _Served, request: web.Request) -> web.StreamResponse:
        if not (
            trust.is_for_own_host(request)
            or trust.is_called(request.headers.get("Host", ""), self._names)
        ):
            return _forbidden()
        if served.api is None:
            return _answer(503, served.reason or "The API is not deployed.")
        path, query = listeners.target_of(request)
        if management.is_management(path):
            if reason := trust.from_page(request.headers):
                return _answer(403, trust.words(reason))
            return await management.answer(
                request,
                path,
                served.api,
                self.connections,
                self._permit,
                lambda: self._rate.take(self._clock()),
                self._clock,
            )
        stage = served.api.stages.get(path.strip("/"))
        if stage is None:
            return _forbidden()
        if (bad := _not_a_handshake(request)) is not None:
            return bad
        if not self._opened.take(self._clock()) or not self._allowed(served, stage, "$connect"):
            return _answer(429, "Too Many Requests")
        return await self._open(served, served.api, stage, request, query)

    def _allowed(self, served: _Served, stage: Stage, route: str) -> bool:
        """Take a token of the account's rate, and one of the route's or the stage's own."""
        now = self._clock()
        own = stage.rates.get(route) or stage.rates.get("")
        if own is not None:
            rate, burst = own
            bucket = served.buckets.setdefault(
                (stage.name, route), Bucket(rate * self._limits.time_scale, burst)
            )
            if not bucket.take(now):
                return False
        return self._rate.take(now)

    async def _open(
        self, served: _Served, api: Api, stage: Stage, request: web.Request, query: str
    ) -> web.StreamResponse:
        """Ask `$connect`, and serve the connection to its end if it accepts."""
        peer = events.Peer(
            events.new_id(),
            api.id,
            stage.name,
            request.headers["Host"],
            request.remote or "127.0.0.1",
            request.headers.get("User-Agent", ""),
            time.time(),
        )
        status, protocol = await self._connect(api, stage, request, query, peer)
        self._log(api, stage, peer, "$connect", "CONNECT", status)
        if status != 200:
            return _answer(status, _MESSAGES.get(status, "Forbidden"))
        response = web.StreamResponse(status=101)
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade"
        key = request.headers["Sec-WebSocket-Key"]
        response.headers["Sec-WebSocket-Accept"] = frames.accept_key(key)
        if protocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = protocol
        await response.prepare(request)
        await self._run(served, api, stage, peer, request)
        return response

    async def _connect(
        self, api: Api, stage: Stage, request: web.Request, query: str, peer: events.Peer
    ) -> tuple[int, str | None]:
        """Return the status of the handshake and the subprotocol, by the function of `$connect`."""
        route = stage.routes.get("$connect")
        if route is None:
            return 200, None
        values = events.context(peer, "$connect", "CONNECT", time.time())
        event = events.connect(values, request.headers.items(), query)
        try:
            result = await self._integrations.invoke(api, stage.name, "$connect", route, event)
        except Failed as error:
            return error.status, None
        if result is None or route.template is not None:
            return 200, None
        try:
            answer = json.loads(result)
            status = int(answer["statusCode"])
            headers = {name.lower(): text for name, text in (answer.get("headers") or {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("$connect of %s: the result is not a response", api.id)
            return 502, None
        protocol = headers.get("sec-websocket-protocol")
        return (200 if 200 <= status < 300 else status), protocol

    async def _run(
        self, served: _Served, api: Api, stage: Stage, peer: events.Peer, request: web.Request
    ) -> None:
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return  # the client has left
        now = self._clock()
        ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        doomed = self._faults.strike("socket", stage.name)
        connection = Connection(peer, transport, now, now, ended, doomed=doomed)
        self.connections.add(connection)
        self._count(api, "ConnectCount")
        reader: Any = _Reader(
            connection, lambda text: self._message(served, api, stage, connection, text)
        )
        reader.clock = self._clock
        request.protocol.set_parser(reader)
        try:
            code, reason = await asyncio.shield(ended)
        except asyncio.CancelledError:  # the TCP connection is lost, or the cloud stops
            connection.end(1006, "Connection closed abnormally")
            code, reason = ended.result()
        finishing = asyncio.create_task(self._disconnect(api, stage, connection, code, reason))
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await connection.gone.wait()
        transport.close()  # the client's own close waits for it, and $disconnect may take long
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(finishing)

    def _message(
        self, served: _Served, api: Api, stage: Stage, connection: Connection, text: str
    ) -> None:
        """Route a message: its integration runs beside those of the others."""
        self._count(api, "MessageCount")
        task = asyncio.create_task(self._routed(served, api, stage, connection, text))
        connection.tasks.add(task)
        task.add_done_callback(connection.tasks.discard)

    async def _routed(
        self, served: _Served, api: Api, stage: Stage, connection: Connection, text: str
    ) -> None:
        current = served.api or api
        stage = current.stages.get(stage.name, stage)
        key = config.route_key(current, stage, text)
        values = events.context(connection.peer, key or "$default", "MESSAGE", time.time())
        if key is None:
            _tell(connection, values, "Forbidden")
        elif not self._allowed(served, stage, key):
            _tell(connection, values, "Too Many Requests")
        else:
            event = events.text(values, text)
            try:
                await self._integrations.invoke(current, stage.name, key, stage.routes[key], event)
            except Failed as error:
                self._count(current, "IntegrationError")
                _tell(connection, values, error.message)
        self._log(current, stage, connection.peer, key or "$default", "MESSAGE", 200)

    async def _disconnect(
        self, api: Api, stage: Stage, connection: Connection, code: int, reason: str
    ) -> None:
        peer, route = connection.peer, stage.routes.get("$disconnect")
        await asyncio.gather(*connection.tasks, return_exceptions=True)
        if route is not None:
            values = events.context(peer, "$disconnect", "DISCONNECT", time.time())
            event = events.disconnect(values, peer.domain, code, reason)
            try:
                await self._integrations.invoke(api, stage.name, "$disconnect", route, event)
            except Failed as error:
                log.warning("$disconnect of %s: %s", api.id, error)
        self._integrations.forget(peer.connection_id)
        self._log(api, stage, peer, "$disconnect", "DISCONNECT", 200)

    def _count(self, api: Api, metric: str) -> None:
        if self._shipper is not None:
            dimensions = [{"Name": "ApiId", "Value": api.id}]
            data = [{"MetricName": metric, "Dimensions": dimensions, "Value": 1, "Unit": "Count"}]
            self._shipper.add({"region": api.region, "namespace": "AWS/ApiGateway", "data": data})

    def _log(
        self, api: Api, stage: Stage, peer: events.Peer, route: str, kind: events.Kind, status: int
    ) -> None:
        """Write a line of the stage's access log."""
        if self._shipper is None or stage.log_group is None:
            return
        now = time.time()
        values = {**events.context(peer, route, kind, now), "status": status}
        self._shipper.add(
            {
                "region": api.region,
                "group": stage.log_group,
                "stream": stage.name,
                "timestamp": int(now * 1000),
                "message": render(stage.log_format, values, ""),
            }
        )


_MESSAGES = {
    401: "Unauthorized",
    403: "Forbidden",
    429: "Too Many Requests",
    500: "Internal server error",
    502: "Internal server error",
    504: "Endpoint request timed out",
}


class _Reader:
    """The parser of an upgraded connection, in the form that aiohttp's protocol calls."""

    def __init__(self, connection: Connection, message: Callable[[str], None]) -> None:
        self._connection = connection
        self._message = message
        self._decoder = frames.Decoder()
        self.clock: Callable[[], float] = time.monotonic

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes of the client. Return that no HTTP follows."""
        connection = self._connection
        if connection.gone.is_set():
            return False, b""
        connection.active = self.clock()
        for one in self._decoder.feed(bytes(data)):
            if connection.ended.done() and not isinstance(one, frames.Close | frames.Broken):
                continue
            match one:
                case frames.Text(text):
                    self._message(text)
                    self._slow_down()
                case frames.Ping(payload):
                    connection.transport.write(frames.pong(payload))
                case frames.Close(code, reason):
                    if not connection.ended.done():
                        connection.transport.write(frames.close(code))
                    connection.end(code, reason)
                    break
                case frames.Broken():
                    connection.close(one.code, one.reason)
                    self._decoder = frames.Decoder()
                case _:
                    pass
        return False, b""

    def feed_eof(self) -> None:
        """Note that the client's side is closed without a close frame."""
        self._connection.end(1006, "Connection closed abnormally")

    def _slow_down(self) -> None:
        """Read nothing more while too many messages are under way."""
        connection = self._connection
        if len(connection.tasks) >= _AT_ONCE and connection.transport.is_reading():
            connection.transport.pause_reading()
            for task in connection.tasks:
                task.add_done_callback(self._go_on)

    def _go_on(self, _task: object) -> None:
        transport = self._connection.transport
        if not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()


def _not_a_handshake(request: web.Request) -> web.Response | None:
    """Return the refusal of a request that is no WebSocket handshake; AWS's words are unknown."""
    upgrade = request.headers.get("Upgrade", "").lower()
    if request.method != "GET" or upgrade != "websocket":
        response = _answer(426, "Upgrade Required")
        response.headers["Upgrade"] = "websocket"
        return response
    if request.headers.get("Sec-WebSocket-Version") != "13":
        return _answer(400, "Bad Request")
    return None if "Sec-WebSocket-Key" in request.headers else _answer(400, "Bad Request")


def _tell(connection: Connection, values: dict[str, Any], text: str) -> None:
    """Send API Gateway's own message about a message that could not be passed on."""
    if not connection.ended.done():
        ids = {name: values[name] for name in ("connectionId", "requestId")}
        connection.send(json.dumps({"message": text, **ids}).encode())


def _answer(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _forbidden() -> web.Response:
    ids = {"connectionId": events.new_id(), "requestId": events.new_id()}
    return web.json_response({"message": "Forbidden", **ids}, status=403)


def failed(status: int) -> web.Response:
    """Return API Gateway's response for a request that could not be read or handled."""
    return _answer(status, _FAILURES[status])
