"""A collector of OpenTelemetry's protocol, which reads with OpenTelemetry's own definition."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

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
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield found
    await runner.cleanup()
