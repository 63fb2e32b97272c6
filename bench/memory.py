"""The memory of the stream function: over many streams, and for clients that do not read.

    python -m bench.memory [--streams 10000] [--slow 64]

One environment of the deployed package serves 32 streams at a time. Writes
bench/results/memory.json. Linux only.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.adapter import processes, servers
from bench.adapter.load import LambdaClient, run

RESULTS = Path("bench/results/memory.json")
_AT_ONCE = 32
_FIRST = 8  # slow readers before those that are counted
_LONG = 20_000  # tokens of an answer that the buffers on the way cannot hold
LONG_KB = 5_000  # the kilobytes (10**3) of such an answer


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="Memory of the stream function.")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(Path(folder), streams=args.streams, slow=args.slow))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    console = Console(width=120)
    console.print(f"resident, MB, each tenth of {args.streams} streams: {result['resident_mb']}")
    console.print(f"growth after the first half: {result['growth_mb']} MB")
    console.print(f"a reader that does not read: {result['slow_reader_kb']} kB")
    return 0


async def measure(folder: Path, *, streams: int, slow: int) -> dict[str, Any]:
    """Return the figures.

    They are the resident megabytes (10**6) after each tenth of the streams, and the kilobytes
    (10**3) of each slow reader.
    """
    setting, stand_ins = servers.stand_ins(folder)
    server = None
    try:
        server = await servers.start("sluice", setting, _AT_ONCE)
        await server.warm(1)
        # the slow readers come first, while no memory of earlier streams can be reused
        megabytes = await _slow(server, slow)
        server.stop()
        server = await servers.start("sluice", setting, _AT_ONCE)
        resident = []
        for _ in range(10):
            clients = await server.clients(_AT_ONCE)
            requests = max(1, streams // 10 // _AT_ONCE)
            recordings = await run(clients, requests=requests, tokens=40, rate=0, seconds=600)
            if not all(recording.over for recording in recordings):
                raise RuntimeError("a stream did not end")
            resident.append(round(processes.resident(server.pids), 2))
    finally:
        if server is not None:
            server.stop()
        processes.stop(stand_ins)
    return {
        "streams": streams,
        "resident_mb": resident,
        "growth_mb": round(resident[-1] - resident[4], 2),
        "slow_readers": slow,
        "slow_reader_kb": round(megabytes / slow * 1000, 1),
    }


async def _slow(server: servers.Server, count: int) -> float:
    """Return the megabytes for this many clients that read their first tokens and no more.

    Some slow readers before them take the memory that all of them share.
    """
    assert server.idle is not None  # noqa: S101 (a server on the Runtime API)
    clients: list[LambdaClient] = []
    reading: list[asyncio.Task[Any]] = []
    megabytes = [0.0, 0.0]
    try:
        for batch, number in enumerate((_FIRST, count)):
            added = [LambdaClient(server.idle, merged=False, stuck=True) for _ in range(number)]
            clients += added
            reading += [asyncio.create_task(client.ask(_LONG, 0)) for client in added]
            while (now := processes.resident(server.pids)) > megabytes[batch] or not all(
                client.paused for client in clients
            ):
                megabytes[batch] = max(megabytes[batch], now)
                await asyncio.sleep(1.5)
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    return megabytes[1] - megabytes[0]


if __name__ == "__main__":
    sys.exit(main())
