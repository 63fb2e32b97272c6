"""What a log costs the stream function: CPU for a token, and time to the first one, on and off.

    python -m bench.streams [--rounds 5] [--streams 8] [--tokens 500]

The streams have 50 tokens a second. The two settings run in turn. Writes
bench/results/streams.json. Linux only.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.adapter import processes, servers
from bench.adapter.rows import Sample, Scenario, sample

RESULTS = Path("bench/results/streams.json")
_RATE = 50
_SECONDS = 120.0
SETTINGS: dict[str, dict[str, str]] = {
    "off": {},
    "on": {"SLUICE_STREAM_TABLE": "streams", "SLUICE_PERSISTENCE": "all"},
}


def main() -> int:
    """Measure, write and print. Return the exit status, which is 1 if a stream was incomplete."""
    parser = argparse.ArgumentParser(description="The cost of logging responses.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=500)
    args = parser.parse_args()
    scenario = Scenario(rate=_RATE, streams=args.streams, tokens=args.tokens)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), scenario, args.rounds))
    result = {name: summary(samples) for name, samples in found.items()}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in result.items():
        print(f"{name:4} {row}")
    return 0 if all(row["complete"] for row in result.values()) else 1


async def measure(folder: Path, scenario: Scenario, rounds: int) -> dict[str, list[Sample]]:
    """Return the samples of both settings."""
    setting, stand_ins = servers.stand_ins(folder)
    running: dict[str, servers.Server] = {}
    samples: dict[str, list[Sample]] = {name: [] for name in SETTINGS}
    try:
        for name, variables in SETTINGS.items():
            running[name] = await servers.sluice(setting, variables=variables)
            await running[name].warm(scenario.streams)
        for _ in range(rounds):
            for name, server in running.items():
                samples[name].append(await sample(server, scenario, seconds=_SECONDS))
    finally:
        for server in running.values():
            server.stop()
        processes.stop(stand_ins)
    return samples


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


if __name__ == "__main__":
    sys.exit(main())
