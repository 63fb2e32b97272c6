"""Spans on their way to a collector that is there, slow, down or refusing."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from lambda_fn import limits
from lambda_fn.http.client import Client
from lambda_fn.tracing.exporter import Exporter
from lambda_fn.tracing.otlp import Resource, Span
from tests.support.function import CREDENTIALS, peer
from tests.support.otlp import Collector, collector

RESOURCE = Resource({"service.name": "test"})


def span(number: int) -> tuple[Resource, Span]:
    """Return a span with a name of its own."""
    return RESOURCE, Span("a" * 32, "b" * 16, "", f"span {number}", 1, 2, {})


@pytest.fixture(name="stand_in")
async def _stand_in() -> AsyncIterator[Collector]:
    async with collector() as stand_in:
        yield stand_in


async def sent(exporter: Exporter, *numbers: int) -> None:
    """Add spans, and wait until they were handled."""
    handled = exporter.add([span(number) for number in numbers])
    assert handled is not None
    async with asyncio.timeout(60):
        await handled


async def test_spans_go_together(stand_in: Collector, http: Client) -> None:
    """Spans that come while a request is under way go in the next one, and none is lost."""
    exporter = Exporter(http, url=stand_in.url, authorization="Basic abc")
    first = exporter.add([span(0)])
    await asyncio.sleep(0)  # the request begins
    others = [exporter.add([span(number)]) for number in range(1, 6)]
    assert first is not None
    assert others[0] is not None
    assert all(other is others[0] for other in others)
    await asyncio.wait([first, others[0]], timeout=60)
    assert [each["name"] for each in stand_in.spans] == [f"span {number}" for number in range(6)]
    assert stand_in.requests == 2
    assert {headers["authorization"] for headers in stand_in.headers} == {"Basic abc"}


async def test_cloudwatch(stand_in: Collector, http: Client) -> None:
    """A request to CloudWatch has the signature that botocore makes of it."""
    exporter = Exporter(http, url=stand_in.url, region="eu-west-1", credentials=lambda: CREDENTIALS)
    await sent(exporter, 1)
    [headers] = stand_in.headers
    assert "/eu-west-1/xray/aws4_request" in headers["authorization"]
    request = AWSRequest("POST", stand_in.url, headers={"content-type": "application/json"})
    SigV4Auth(BotoCredentials("AKID", "SECRET"), "xray", "eu-west-1").add_auth(request)
    assert (
        headers["authorization"].split(", ")[1] == request.headers["Authorization"].split(", ")[1]
    )


async def test_a_collector_that_refuses(
    stand_in: Collector, http: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """After some failures it is left alone for a while. What is lost is counted in the log."""
    now = 100.0
    exporter = Exporter(http, url=stand_in.url, clock=lambda: now)
    stand_in.statuses = [503] * limits.TRACE_FAILURES
    for number in range(limits.TRACE_FAILURES):
        await sent(exporter, number, number)
    assert exporter.add([span(7)]) is None
    now += limits.TRACE_PAUSE
    await sent(exporter, 8)
    assert [each["name"] for each in stand_in.spans] == ["span 8"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["spans"]) for line in lines] == [
        ("traces_lost", 2)
    ] * limits.TRACE_FAILURES + [("traces_lost", 1)]
    assert lines[0]["reason"] == "status 503"


async def test_a_collector_that_is_down(http: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that breaks is handled, and raises nothing."""

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with peer(breaks) as origin:
        exporter = Exporter(http, url=f"{origin}/v1/traces")
        await sent(exporter, 1)
    assert "TransportError" in capsys.readouterr().out


async def test_a_slow_collector(
    http: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request has a limited time, and the queue a limited size."""
    monkeypatch.setattr(limits, "TRACE_TIMEOUT", 0.05)
    monkeypatch.setattr(limits, "TRACE_QUEUE", 3)
    asked = asyncio.Event()

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await asyncio.get_running_loop().create_future()

    async with peer(hangs) as origin:
        exporter = Exporter(http, url=f"{origin}/v1/traces")
        first = exporter.add([span(0)])
        assert first is not None
        await asked.wait()
        waiting = exporter.add([span(1), span(2), span(3)])
        assert waiting is not None
        assert exporter.add([span(4)]) is None
        await asyncio.wait([first, waiting], timeout=60)
        assert first.done()
        assert waiting.done()
    lost = [json.loads(line)["spans"] for line in capsys.readouterr().out.splitlines()]
    assert sum(lost) == 5
