"""The local endpoint for OTLP metrics takes what the sweeper sends, within its limits."""

import json
import time
from collections.abc import AsyncIterator

import pytest

from lambda_fn.tracing.otlp import Gauge, Point, Resource, encode_gauges
from local import otlp_metrics
from tests.support import otlp
from tests.support.otlp import Endpoint

NOW = time.time_ns()
LABELS = {"key": "abcdefghijkl", "model": "m"}
RESOURCE = Resource({"service.name": "sluice-dev"})


def body(*points: Point, name: str = "sluice.key.cost") -> bytes:
    """Return a request with one gauge."""
    return encode_gauges([Gauge(name, "USD", points)], RESOURCE, "sluice")


@pytest.fixture(name="endpoint")
async def _endpoint() -> AsyncIterator[Endpoint]:
    async with otlp.endpoint(otlp_metrics.metrics, "monitoring") as found:
        yield found


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


async def test_the_size_of_a_request(endpoint: Endpoint) -> None:
    """A request has at most a megabyte."""
    assert (await endpoint(b" " * (10**6 + 1)))[0] == 413
