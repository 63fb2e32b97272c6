"""Encodes spans and gauges as OTLP's JSON, for `/v1/traces` and `/v1/metrics`. Pure.

Ids are hexadecimal and 64-bit integers are strings, unlike in other JSON forms of Protocol Buffers.
Source: https://opentelemetry.io/docs/specs/otlp/ (OTLP/HTTP, JSON Protobuf Encoding).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

CONTENT_TYPE = "application/json"
SERVER = 2
"""The kind of a span that answers a request."""
ERROR = 2
"""The status of a span whose request failed. Without one, the status is not set."""
_SAMPLED = 0x101
"""The flags of a sampled span, of which it is known whether its parent is remote."""
_REMOTE = 0x200
Value = str | bool | int | float | Sequence[str]
_encode = msgspec.json.Encoder().encode


class SpanEvent(NamedTuple):
    """Something that happened at `time`, in Unix nanoseconds."""

    name: str
    time: int


class Span(NamedTuple):
    """One span. Times are Unix nanoseconds. `error` says why it failed, None if it did not."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: int
    end: int
    attributes: Mapping[str, Value]
    events: Sequence[SpanEvent] = ()
    error: str | None = None
    state: str = ""


class Point(NamedTuple):
    """One value of a metric: at `time`, in Unix nanoseconds, with attributes that tell it apart."""

    time: int
    value: int | float
    attributes: Mapping[str, Value]


class Gauge(NamedTuple):
    """A metric whose points are values, each as at its time. `unit` is one of UCUM's."""

    name: str
    unit: str
    points: Sequence[Point]


class Resource(NamedTuple):
    """What made spans or metrics: its attributes, such as `service.name`."""

    attributes: Mapping[str, Value]


def encode(spans: Sequence[tuple[Resource, Span]], scope: str) -> bytes:
    """Return the body of a request that has all `spans`, each with what made it.

    `scope` names the code that measured them.
    """
    groups: list[tuple[Resource, list[dict[str, Any]]]] = []
    for resource, span in spans:
        for known, group in groups:
            if known is resource:
                group.append(_span(span))
                break
        else:
            groups.append((resource, [_span(span)]))
    return _encode(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(resource.attributes)},
                    "scopeSpans": [{"scope": {"name": scope}, "spans": group}],
                }
                for resource, group in groups
            ]
        }
    )


def encode_gauges(gauges: Sequence[Gauge], resource: Resource, scope: str) -> bytes:
    """Return the body of a request that has all `gauges`, which one resource made.

    `scope` names the code that measured them.
    """
    metrics = [
        {
            "name": gauge.name,
            "unit": gauge.unit,
            "gauge": {"dataPoints": [_point(point) for point in gauge.points]},
        }
        for gauge in gauges
    ]
    return _encode(
        {
            "resourceMetrics": [
                {
                    "resource": {"attributes": _attributes(resource.attributes)},
                    "scopeMetrics": [{"scope": {"name": scope}, "metrics": metrics}],
                }
            ]
        }
    )


def _point(point: Point) -> dict[str, Any]:
    whole = isinstance(point.value, int)
    return {
        "attributes": _attributes(point.attributes),
        "timeUnixNano": str(point.time),
        **({"asInt": str(point.value)} if whole else {"asDouble": point.value}),
    }


def _span(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": SERVER,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": _attributes(span.attributes),
        "events": [{"timeUnixNano": str(event.time), "name": event.name} for event in span.events],
        "flags": _SAMPLED,
        "status": {},
    }
    if span.parent_id:
        found["parentSpanId"] = span.parent_id
        found["flags"] = _SAMPLED | _REMOTE
    if span.state:
        found["traceState"] = span.state
    if span.error is not None:
        found["status"] = {"code": ERROR, "message": span.error}
    return found


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"arrayValue": {"values": [_value(each) for each in value]}}
