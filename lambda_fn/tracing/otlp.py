"""Encodes spans as OTLP's JSON, for `POST /v1/traces`. Pure.

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


class Resource(NamedTuple):
    """What made spans: its attributes, such as `service.name`."""

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
