"""What the metrics cost the stream function: CPU of a request, of a token, and of their import.

    python -m bench.metrics [--rounds 40]

The results go to bench/results/metrics.json. A chat stream goes through producer and delivery with
and without a `Pace`, in turn; the minimum of many short runs counts, because noise only adds. The
members of a request's line are made and encoded as at a settlement. The import is that of a fresh
process that has already imported the function.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
from rich.console import Console

from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.encode.base import Head
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.event_log import NoLog
from lambda_fn.events import Delta, End, Finish, Start, Usage
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.metrics import members
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.sinks import AsgiSink
from lambda_fn.stream.usage_counter import Pace, UsageCounter

if TYPE_CHECKING:
    from lambda_fn.stream.invoke import Invocation

RESULTS = Path("bench/results/metrics.json")
_TOKENS = 400
_HEAD = Head("01h00000000000000000000000", 1_700_000_000, "model", fingerprint="fp_0123456789")
_LINES = [
    msgspec.json.encode(event) + b"\n"
    for event in (
        Start(10),
        *(Delta(msgspec.Raw(b'{"content":" token"}'), tokens=1) for _ in range(_TOKENS)),
        Finish("stop"),
        Usage(10, _TOKENS),
        End(),
    )
]
_OPENING = Opening("0" * 26, "abcdefghijkl", "model", 1000, 1000, Prices(500, 1500), 600.0, True)
_IMPORT = """
import time
import lambda_fn.stream.main
began = time.perf_counter()
import lambda_fn.stream.metrics
print(time.perf_counter() - began)
"""


class _Lines:
    """An invocation whose parts have one line each."""

    request_id = "01h00000000000000000000000"
    over = False

    def __init__(self) -> None:
        self._left = iter(_LINES)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""

    async def read(self, _until: float, _take: object = None) -> bytes:
        return next(self._left, b"")

    def wake(self) -> None:
        """Do nothing."""


async def _send(_message: object) -> None:
    """Take a message of the application."""


async def _stream(*, measured: bool) -> UsageCounter:
    """Carry a stream from a model to a client."""
    counter = UsageCounter()
    counter.pace = Pace(counter) if measured else None
    delivery = Delivery(ChatStream(_HEAD), AsgiSink(_send), pace=counter.pace)
    producer = Producer(
        cast("Invocation", _Lines()),
        LineDecoder(),
        counter,
        NoLog(),
        seconds=60,
        on_stop=delivery.hasten,
    )
    async with producer:
        await delivery.run(producer)
    return counter


def _line(counter: UsageCounter) -> bytes:
    """Return the metrics of a request, encoded as in its log line."""
    settlement = Settlement(
        outcome=counter.outcome,
        prompt_tokens=counter.prompt_tokens,
        completion_tokens=counter.completion_tokens,
        finish_reason=counter.finish_reason,
        ttft_ms=counter.ttft_ms,
        duration_ms=counter.duration_ms,
    )
    found = members(counter, _OPENING, settlement, deployment="d", lag=0.01, now=time.time())
    return msgspec.json.encode(found)


async def _least(rounds: int, *runs: Callable[[], Awaitable[Any]]) -> list[float]:
    """Return the least CPU seconds of each run; they take turns."""
    least = [float("inf")] * len(runs)
    for _ in range(rounds):
        for number, run in enumerate(runs):
            began = time.thread_time()
            await run()
            least[number] = min(least[number], time.thread_time() - began)
    return least


async def _measure(rounds: int) -> dict[str, float]:
    counter = await _stream(measured=True)

    async def settle() -> None:
        for _ in range(100):
            _line(counter)

    off, on, lines = await _least(
        rounds,
        lambda: _stream(measured=False),
        lambda: _stream(measured=True),
        settle,
    )
    return {
        "token_us_off": round(off / _TOKENS * 1e6, 2),
        "token_us_on": round(on / _TOKENS * 1e6, 2),
        "request_us": round(lines / 100 * 1e6, 1),
        "line_bytes": len(_line(counter)),
    }


def _import_ms() -> float:
    """Return the least milliseconds that a fresh function takes to import the metrics."""
    command = [sys.executable, "-c", _IMPORT]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(5)]
    return round(min(float(run.stdout) for run in runs) * 1e3, 2)


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="The cost of metrics.")
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    figures = {**asyncio.run(_measure(args.rounds)), "import_ms": _import_ms()}
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    Console(width=120).print(", ".join(f"{name} {value}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
