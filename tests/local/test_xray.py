"""The local OTLP endpoint takes what the function sends, within AWS's limits."""

import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from lambda_fn.tracing.otlp import Resource, Span, SpanEvent, encode
from local import xray

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


class Endpoint:
    """The endpoint, and what it sent on."""

    def __init__(self, session: aiohttp.ClientSession, url: str, items: list[Any]) -> None:
        self._session = session
        self._url = url
        self.items = items

    async def __call__(self, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        headers = {"Content-Type": kind, "Authorization": "x Credential=A/1/eu-west-1/xray/y"}
        async with self._session.post(self._url, data=io.BytesIO(body), headers=headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture(name="endpoint")
async def _endpoint() -> AsyncIterator[Endpoint]:
    items: list[Any] = []

    async def send(more: list[Any]) -> None:
        items.extend(more)

    application = web.Application(client_max_size=0)
    application.router.add_post("/v1/traces", xray.Spans(send).take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Endpoint(session, f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces", items)
    await runner.cleanup()


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
    ("body", "kind", "status"),
    [
        (b"{}", "application/x-protobuf", 415),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}', "application/json", 400),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[7]}]}]}', "application/json", 400),
        (b" " * 5_000_001, "application/json", 413),
    ],
)
async def test_what_is_no_request(endpoint: Endpoint, body: bytes, kind: str, status: int) -> None:
    """It has the status that says why."""
    assert (await endpoint(body, kind))[0] == status


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
