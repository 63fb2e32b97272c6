"""The local endpoint for OTLP metrics takes what the sweeper sends, within its limits."""

import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from lambda_fn.tracing.otlp import Gauge, Point, Resource, encode_gauges
from local import otlp_metrics

NOW = time.time_ns()
LABELS = {"key": "abcdefghijkl", "model": "m"}
RESOURCE = Resource({"service.name": "sluice-dev"})


def body(*points: Point, name: str = "sluice.key.cost") -> bytes:
    """Return a request with one gauge."""
    return encode_gauges([Gauge(name, "USD", points)], RESOURCE, "sluice")


class Endpoint:
    """The endpoint, and what it sent on."""

    def __init__(self, session: aiohttp.ClientSession, url: str, items: list[Any]) -> None:
        self._session = session
        self._url = url
        self.items = items

    async def __call__(self, content: bytes, kind: str = "application/json") -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        signed = "x Credential=A/1/eu-west-1/monitoring/y"
        headers = {"Content-Type": kind, "Authorization": signed}
        async with self._session.post(self._url, data=io.BytesIO(content), headers=headers) as it:
            return it.status, await it.json()


@pytest.fixture(name="endpoint")
async def _endpoint() -> AsyncIterator[Endpoint]:
    items: list[Any] = []

    async def send(more: list[Any]) -> None:
        items.extend(more)

    application = web.Application(client_max_size=0)
    application.router.add_post("/v1/metrics", otlp_metrics.Metrics(send).take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Endpoint(session, f"http://127.0.0.1:{runner.addresses[0][1]}/v1/metrics", items)
    await runner.cleanup()


async def test_points_are_log_lines(endpoint: Endpoint) -> None:
    """Each point is a line with its metric, its value and its labels."""
    points = Point(NOW, 0.5, LABELS), Point(NOW, 3, {})
    assert await endpoint(body(*points)) == (200, {})
    assert {(item["group"], item["region"]) for item in endpoint.items} == {
        (otlp_metrics.GROUP, "eu-west-1")
    }
    assert [item["timestamp"] for item in endpoint.items] == [NOW // 10**6] * 2
    common = {
        "resource": {"service.name": "sluice-dev"},
        "name": "sluice.key.cost",
        "unit": "USD",
        "timeUnixNano": NOW,
    }
    assert [json.loads(item["message"]) for item in endpoint.items] == [
        {**common, "value": 0.5, "labels": LABELS},
        {**common, "value": 3, "labels": {}},
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no JSON", "not OTLP"),
        (b"[]", "not OTLP"),
        (b'{"resourceMetrics": 5}', "not OTLP"),
        (b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "a"}]}]}]}', "gauge"),
        (b"[" * 5000, "not OTLP"),
        (body(Point(NOW, 1, {}), name="a b"), "a metric's name"),
        (body(Point(NOW - 15 * 86_400 * 10**9, 1, {})), "too old"),
        (body(Point(NOW + 3 * 3600 * 10**9, 1, {})), "too far ahead"),
        (body(Point(NOW, 1, {str(number): "x" for number in range(151)})), "150 labels"),
        (body(Point(NOW, 1, {"key": 5})), "stringValue"),
        (body(*[Point(NOW, 1, {})] * 1001), "1000 data points"),
        (body(Point(NOW, 1, {})).replace(b'"1"', b'"one"'), "invalid literal"),
        (body(Point(NOW, 1.5, {})).replace(b"1.5", b"1e999"), "finite"),
    ],
)
async def test_what_is_refused(endpoint: Endpoint, content: bytes, says: str) -> None:
    """A request that is not OTLP's JSON, or is over a limit, has a 400 that says why."""
    status, answer = await endpoint(content)
    assert (status, says in answer["message"]) == (400, True), answer
    assert endpoint.items == []


async def test_forms_and_sizes(endpoint: Endpoint) -> None:
    """The binary form is refused by its type, and a large body before it is read."""
    assert (await endpoint(b"", "application/x-protobuf"))[0] == 415
    assert (await endpoint(b" " * (10**6 + 1)))[0] == 413
