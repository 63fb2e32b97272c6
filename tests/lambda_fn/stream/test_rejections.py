"""Counts of rejected requests."""

import asyncio
import json
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.stream.rejections import CLASSES, CODES, NAMES, Rejections


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the lines since the last call."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_a_flood_costs_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rejections are written at once, and all that follow in one line by a timer."""
    monkeypatch.setattr(limits, "REJECTIONS_EVERY", 3600.0)  # no line is gained meanwhile
    timers: list[Any] = []

    def call_later(*call: Any) -> object:
        timers.append(call)
        return object()

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    counts = Rejections("sluice-test")
    for _ in range(limits.REJECTIONS_BURST):
        counts.add(429, "rate_limit_exceeded")
    first = lines(capsys)
    assert len(first) == limits.REJECTIONS_BURST
    assert {(it["Rejected.rate_limit_exceeded"], it["Rejected4xx"]) for it in first} == {(1, 1)}
    for _ in range(1000):
        counts.add(503, "service_unavailable")
    counts.add(400, "invalid_json")
    counts.add(500, "strange")
    assert lines(capsys) == []
    [(wait, write)] = timers
    assert 0 < wait <= limits.REJECTIONS_EVERY
    write()
    [second] = lines(capsys)
    assert {name: second[name] for name in second if name.startswith("Rejected")} == {
        "Rejected.service_unavailable": 1000,
        "Rejected5xx": 1001,
        "Rejected.invalid_request": 1,
        "Rejected4xx": 1,
        "Rejected.other": 1,
    }
    assert second["Deployment"] == "sluice-test"
    counts.add(403, "origin_denied")
    assert lines(capsys) == []
    assert len(timers) == 2


async def test_the_number_of_metrics_is_bounded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever codes there are, the metrics are those of one list."""
    monkeypatch.setattr(limits, "REJECTIONS_BURST", 1000)
    counts = Rejections("sluice-test")
    for number in range(100):
        counts.add(400 + number, f"code {number}")
    counts.add(500, None)
    for code in CODES:
        counts.add(400, code)
    found = {
        metric["Name"]
        for line in lines(capsys)
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    assert found == {*NAMES, *CLASSES}
