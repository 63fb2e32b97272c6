"""The local OTLP endpoint takes what the function sends, within AWS's limits."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lambda_fn.tracing.otlp import Resource, Span, SpanEvent, encode
from local import xray
from tests.support import otlp
from tests.support.otlp import Endpoint

NOW = time.time_ns()
SPAN = Span(
    "a" * 32,
    "b" * 16,
    "c" * 16,
    "chat m",
    NOW - 10**9,
    NOW,
    {"gen_ai.request.model": "m", "tokens": 5, "stream": True, "cost": 0.5, "reasons": ["stop"]},
    [SpanEvent("admitted", NOW - 10**8)],
    "Upstream",
)
RESOURCE = Resource({"service.name": "sluice-dev"})


@pytest.fixture(name="endpoint")
async def _endpoint() -> AsyncIterator[Endpoint]:
    async with otlp.endpoint(xray.spans, "xray") as found:
        yield found


async def test_spans_are_log_lines(endpoint: Endpoint) -> None:
    """A span is a line of the log group in which Transaction Search keeps spans."""
    assert await endpoint(encode([(RESOURCE, SPAN)], "sluice")) == (200, {})
    [item] = endpoint.items
    assert (item["group"], item["region"]) == ("aws/spans", "eu-west-1")
    assert json.loads(item["message"]) == {
        "resource": {"attributes": {"service.name": "sluice-dev"}},
        "scope": {"name": "sluice"},
        "traceId": SPAN.trace_id,
        "spanId": SPAN.span_id,
        "parentSpanId": SPAN.parent_id,
        "flags": 1,
        "name": "chat m",
        "kind": "SERVER",
        "startTimeUnixNano": SPAN.start,
        "endTimeUnixNano": SPAN.end,
        "durationNano": 10**9,
        "attributes": dict(SPAN.attributes),
        "events": [{"timeUnixNano": NOW - 10**8, "name": "admitted", "attributes": {}}],
        "status": {"code": "ERROR", "message": "Upstream"},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"trace_id": "A" * 32}, {"trace_id": "0" * 32}, {"span_id": "b"}, {"parent_id": "x"},
        {"start": NOW + 1}, {"start": 0, "end": 1}, {"end": NOW + 3 * 3600 * 10**9},
        {"attributes": {"long": "x" * 200_001}},
    ],
)  # fmt: skip
async def test_spans_over_a_limit(endpoint: Endpoint, changes: dict[str, Any]) -> None:
    """A request with one such span is refused as a whole."""
    bad = SPAN._replace(**changes)
    status, answer = await endpoint(encode([(RESOURCE, SPAN), (RESOURCE, bad)], "sluice"))
    assert status == 400
    assert answer["message"]
    assert endpoint.items == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[]", 400),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}', 400),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[7]}]}]}', 400),
        (b" " * 5_000_001, 413),
    ],
)
async def test_what_is_no_request(endpoint: Endpoint, body: bytes, status: int) -> None:
    """It has the status that says why."""
    assert (await endpoint(body))[0] == status


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 9},
        {"kind": -1},
        {"kind": "SERVER"},
        {"status": {"code": 3}},
        {"flags": 1e999},
        {"endTimeUnixNano": 1e999},
        {"attributes": [{"key": [], "value": {"stringValue": "x"}}]},
        {"attributes": [{"key": "n", "value": {"intValue": 1e999}}]},
    ],
)
async def test_numbers_that_mean_nothing(endpoint: Endpoint, change: dict[str, Any]) -> None:
    """A number without a meaning makes a request malformed, as any other wrong value."""
    asked = json.loads(encode([(RESOURCE, SPAN)], "sluice"))
    asked["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= change
    status, _ = await endpoint(json.dumps(asked).encode())
    assert (status, endpoint.items) == (400, [])


async def test_a_large_resource(endpoint: Endpoint) -> None:
    """A resource has a limited size."""
    large = Resource({"service.name": "x" * 16_001})
    assert (await endpoint(encode([(large, SPAN)], "sluice")))[0] == 400
