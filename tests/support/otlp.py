"""A collector of OpenTelemetry's protocol, which reads with OpenTelemetry's own definition.

Beside it a client of the local cloud's own OTLP endpoints.
"""

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from local.otlp import Receiver, Send

_IDS = ("traceId", "spanId", "parentSpanId")


def read(body: bytes) -> list[dict[str, Any]]:
    """Return the spans of a request, each with its attributes and those of its resource as dicts.

    OTLP's JSON has hexadecimal ids, where that of Protocol Buffers has base 64. Everything else is
    held against the definition: an unknown member raises.
    """
    content = json.loads(body)
    for resource in content["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in _IDS:
                    if name in span:
                        assert span[name] == span[name].lower()
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    request = json_format.ParseDict(content, ExportTraceServiceRequest())
    return [
        {
            "trace_id": span.trace_id.hex(),
            "span_id": span.span_id.hex(),
            "parent_id": span.parent_span_id.hex(),
            "name": span.name,
            "kind": span.kind,
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "state": span.trace_state,
            "flags": span.flags,
            "status": (span.status.code, span.status.message),
            "attributes": {each.key: _value(each.value) for each in span.attributes},
            "events": [(event.name, event.time_unix_nano) for event in span.events],
            "resource": {each.key: _value(each.value) for each in resource.resource.attributes},
            "scope": scope.scope.name,
        }
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def read_gauges(body: bytes) -> list[dict[str, Any]]:
    """Return the points of a request's gauges, each with its attributes and its metric's name.

    An unknown member raises, and so does a metric of another kind.
    """
    request = json_format.Parse(body, ExportMetricsServiceRequest())
    found = []
    for resource in request.resource_metrics:
        made_by = {each.key: _value(each.value) for each in resource.resource.attributes}
        for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
            assert metric.WhichOneof("data") == "gauge"
            found += [
                {
                    "name": metric.name,
                    "unit": metric.unit,
                    "time": point.time_unix_nano,
                    "value": getattr(point, str(point.WhichOneof("value"))),
                    "attributes": {each.key: _value(each.value) for each in point.attributes},
                    "resource": made_by,
                }
                for point in metric.gauge.data_points
            ]
    return found


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


@dataclass
class Collector:
    """A collector on loopback. It answers with `statuses`, one after another, and then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Take a request."""
        self.requests += 1
        body = await request.read()
        assert request.headers["content-type"] == "application/json"
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.spans += read(body)
        return web.json_response({}, status=status)


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Run a collector."""
    found = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", found.handle)
    async with _served(application) as url:
        found.url = f"{url}/v1/traces"
        yield found


class Endpoint:
    """One of the local cloud's OTLP endpoints, with the items that it sent on."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, service: str, items: list[Any]
    ) -> None:
        self._session, self._url, self._service = session, url, service
        self.items = items

    async def __call__(self, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
        """Return the status and the JSON of the response."""
        signed = f"x Credential=A/1/eu-west-1/{self._service}/y"
        headers = {"Content-Type": kind, "Authorization": signed}
        async with self._session.post(self._url, data=io.BytesIO(body), headers=headers) as it:
            return it.status, await it.json()


@asynccontextmanager
async def endpoint(make: Callable[[Send], Receiver], service: str) -> AsyncIterator[Endpoint]:
    """Run the endpoint that `make` returns. Requests are signed for `service`."""
    items: list[Any] = []

    async def send(more: list[Any]) -> None:
        items.extend(more)

    application = web.Application(client_max_size=0)
    application.router.add_post("/", make(send).take)
    async with _served(application) as url, aiohttp.ClientSession() as session:
        yield Endpoint(session, url, service, items)


@asynccontextmanager
async def _served(application: web.Application) -> AsyncIterator[str]:
    """Serve an application on loopback, and yield its address."""
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
