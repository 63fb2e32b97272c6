"""Scenarios and their results. A row is one server in one mode and number of streams."""

import asyncio
import gc
import itertools
import statistics
from dataclasses import dataclass, field
from typing import Any

from bench.adapter import processes
from bench.adapter.load import run
from bench.adapter.servers import Server
from bench.adapter.streams import percentile, read

_OVER_CAPACITY = 0.95  # share of the nominal rate below which a server is over capacity
_AFTER_S = 0.05  # time for work after the last byte, such as settling


@dataclass(frozen=True)
class Scenario:
    """A load: concurrent streams, requests a stream, tokens an answer, and tokens a second.

    A rate of 0 is unlimited.
    """

    rate: int
    streams: int
    tokens: int
    requests: int = 1
    merged: bool = False
    servers: tuple[str, ...] = ()

    @property
    def mode(self) -> str | int:
        """The row's `mode`."""
        return self.rate or "flat"

    @property
    def name(self) -> str:
        """The scenario's name in reports."""
        pace = f"{self.rate} tokens/s" if self.rate else "flat out"
        size = f"{self.tokens} tokens" + (f" x {self.requests}" if self.requests > 1 else "")
        merged = ", merged records" if self.merged else ""
        return f"{self.streams} streams, {pace}, {size}{merged}"


@dataclass(frozen=True)
class Sample:
    """One round of one server. Times are in milliseconds, `cpu` in microseconds a token."""

    cpu: float
    ttft_p50: float
    ttft_p99: float
    itl_p50: float
    itl_p99: float
    tokens_per_s: float
    rss: float
    complete: bool


@dataclass
class Row:
    """All rounds of one server in one scenario."""

    server: str
    scenario: Scenario
    samples: list[Sample] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Return the median of a figure over the rounds."""
        return float(statistics.median(getattr(sample, name) for sample in self.samples))

    def as_json(self, own: "Row") -> dict[str, Any]:
        """Return the row as a JSON object.

        `own` is the endpoint's row. Its time to the first token is subtracted.
        """
        scenario = self.scenario
        capacity = scenario.rate * scenario.streams
        rate = self.median("tokens_per_s")
        return {
            "row": f"{self.server}: {scenario.name}",
            "server": self.server,
            "mode": scenario.mode,
            "streams": scenario.streams,
            "merged": scenario.merged,
            "cpu_us_per_token": round(self.median("cpu"), 2),
            "cpu_us_per_token_rounds": [round(sample.cpu, 2) for sample in self.samples],
            "ttft_ms_p50": round(self.median("ttft_p50"), 2),
            "ttft_added_ms_p50": round(self.median("ttft_p50") - own.median("ttft_p50"), 2),
            "ttft_added_ms_p99": round(self.median("ttft_p99") - own.median("ttft_p99"), 2),
            "itl_ms_p50": round(self.median("itl_p50"), 2),
            "itl_ms_p99": round(self.median("itl_p99"), 2),
            "itl_added_ms_p50": round(self.median("itl_p50") - own.median("itl_p50"), 2),
            "itl_added_ms_p99": round(self.median("itl_p99") - own.median("itl_p99"), 2),
            "tokens_per_s": round(rate),
            "rss_mb": round(self.median("rss"), 1),
            "complete": all(sample.complete for sample in self.samples),
            "over_capacity": bool(capacity) and rate < _OVER_CAPACITY * capacity,
            "rounds": len(self.samples),
            "tokens_a_stream": scenario.tokens,
        }


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Return the medians: microseconds of CPU a token, and milliseconds to the first token."""
    return {
        "cpu_us_per_token": round(statistics.median(it.cpu for it in samples), 1),
        "cpu_us_per_token_rounds": [round(it.cpu, 1) for it in samples],
        "ttft_ms_p50": round(statistics.median(it.ttft_p50 for it in samples), 1),
        "ttft_ms_p99": round(statistics.median(it.ttft_p99 for it in samples), 1),
        "rss_mb": round(statistics.median(it.rss for it in samples), 1),
        "complete": all(it.complete for it in samples),
    }


async def sample(server: Server, scenario: Scenario, *, seconds: float) -> Sample:
    """Run a scenario once and return its figures.

    First, each client gets one answer of one token, so that connections and threads are those of a
    busy server. The recordings are read after the clock has stopped.
    """
    clients = await server.clients(scenario.streams, merged=scenario.merged)
    await run(clients, requests=1, tokens=1, rate=0, seconds=seconds)
    await asyncio.sleep(_AFTER_S)
    gc.collect()
    gc.disable()  # the client's own pauses must not count as latency
    before = processes.cpu(server.pids)
    recordings = await run(
        clients,
        requests=scenario.requests,
        tokens=scenario.tokens,
        rate=scenario.rate,
        seconds=seconds,
    )
    await asyncio.sleep(_AFTER_S)
    used = processes.cpu(server.pids) - before
    rss = processes.resident(server.pids)
    gc.enable()
    for client in clients:
        client.close()
    received = [read(recording) for recording in recordings]
    times = [answer.times for answer in received if answer.times]
    tokens = max(1, sum(map(len, times)))
    ttft = [(answer.times[0] - answer.sent_at) * 1e3 for answer in received if answer.times] or [
        float("inf")
    ]
    itl = [
        (later - earlier) * 1e3 for stream in times for earlier, later in itertools.pairwise(stream)
    ] or [0.0]
    return Sample(
        cpu=used / tokens * 1e6,
        ttft_p50=percentile(ttft, 50),
        ttft_p99=percentile(ttft, 99),
        itl_p50=percentile(itl, 50),
        itl_p99=percentile(itl, 99),
        tokens_per_s=_rate(
            scenario,
            times,
            min((answer.sent_at for answer in received if answer.times), default=0.0),
        ),
        rss=rss,
        complete=len(received) == scenario.streams * scenario.requests
        and all(answer.complete for answer in received),
    )


def _rate(scenario: Scenario, times: list[list[float]], began: float) -> float:
    """Return tokens a second.

    Without a nominal rate, it is taken over the whole round. With one, it is the sum of the rates
    of the streams, each taken while the stream runs.
    """
    if not times:
        return 0.0
    if not scenario.rate:
        return sum(map(len, times)) / max(1e-9, max(stream[-1] for stream in times) - began)
    return (
        statistics.fmean((len(stream) - 1) / max(1e-9, stream[-1] - stream[0]) for stream in times)
        * scenario.streams
    )
