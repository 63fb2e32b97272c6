"""Kill functions, break the table and delete rollups, then prove that all records are exact.

    python -m tests.chaos [--requests 280] [--streams 300] [--sockets 40] [--seed 1]

It uses a new local cloud, the scripted engine and stock clients. Exits with 1 if anything is wrong.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from cli.lib import local_keys
from cli.lib.terminal import console
from lambda_fn.metering.accounts import Limits
from local.cloud import LocalCloud
from tests.chaos import logged, parts, sockets
from tests.chaos.deployment import ChaosDeployment
from tests.chaos.stages import LOGGED, STAGES
from tests.support import gates, leftovers

OVERDUE = 30
OUTAGE_S = 30.0
_KEYS = 3
_BUDGET = Limits(tokens_day=10**9)
"""So that reservations grow."""


def main() -> int:
    """Deploy, run the failures and prove the records. Return the exit status."""
    parser = argparse.ArgumentParser(description="Chaos, and the books exact afterwards.")
    parser.add_argument("--requests", type=int, default=280)
    parser.add_argument("--streams", type=int, default=300, help="logged streams; 0: none")
    parser.add_argument("--sockets", type=int, default=40, help="sockets; 0: none")
    parser.add_argument("--at-once", type=int, default=36)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            wrong = asyncio.run(_run(_deploy(cloud, Path(folder)), args))
        finally:
            cloud.stop()
            left = leftovers.processes(cloud.pid)
    wrong += [f"processes after the end: {left}"] if left else []
    for line in wrong:
        console.print(f"[red]✗[/red] {line}")
    result = "[green]✓[/green] nothing is wrong" if not wrong else f"{len(wrong)} thing(s) wrong"
    console.print(f"{result}, after {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _deploy(cloud: LocalCloud, folder: Path) -> ChaosDeployment:
    outputs = gates.deploy(
        cloud,
        folder,
        "the scripted engine",
        engine="scripted",
        tokens_per_second="0",
        parallel="64",
        websocket="true",
        overdue_seconds=str(OVERDUE),
    )
    deployment = ChaosDeployment(cloud, outputs, outputs["ModelName"], OVERDUE)
    deployment.keys = [
        local_keys.create(deployment.boto, name=f"chaos-{number}", limits=_BUDGET)
        for number in range(_KEYS)
    ]
    return deployment


async def _run(deployment: ChaosDeployment, args: argparse.Namespace) -> list[str]:
    waves = parts.Waves()

    def say(line: str) -> None:
        console.print(f"  {line}", highlight=False)

    wrong: list[str] = []
    console.print(f"Killing the function at {len(STAGES)} stages, {args.requests} requests")
    wrong += await parts.kills(
        deployment, STAGES, waves, say, requests=args.requests, at_once=args.at_once, seed=args.seed
    )
    if args.sockets:
        console.print(f"Breaking {args.sockets} sockets, and killing the functions that answer")
        waves.begin(sockets.RATE)
        wrong += await sockets.kills(
            deployment, say, count=args.sockets, at_once=12, seed=args.seed
        )
    wave = None
    if args.streams:
        console.print(f"Killing functions at {len(LOGGED)} writes of {args.streams} logged streams")
        waves.begin(logged.RATE)
        wave, found = await logged.kills(
            deployment, LOGGED, say, count=args.streams, at_once=args.at_once, seed=args.seed
        )
        wrong += found
        console.print("Throttling StreamTable, while the leases of killed functions end")
        wrong += await logged.outage(deployment, say, count=6)
        wrong += await logged.read_rests(deployment, wave, say, at_once=args.at_once)
    console.print("Killing the sweeper, and sweeping")
    wrong += await parts.broken_sweepers(deployment, say, times=8)
    wrong += await parts.sweep_all(deployment, say)
    wrong += await parts.prove(deployment, waves, say)
    if wave is not None:
        wrong += logged.prove(deployment, wave, say)
    if args.sockets:
        wrong += await sockets.prove(deployment, say)
    wrong += await parts.sweep_twice(deployment, say)
    console.print(f"Taking the table away for {OUTAGE_S:g} s, and replaying the log")
    wrong += await parts.outage(deployment, waves, say, seconds=OUTAGE_S, requests=60)
    wrong += await parts.sweep_all(deployment, say)
    wrong += await parts.prove(deployment, waves, say)
    console.print("Deleting the rollups")
    wrong += await parts.rollups(deployment, say)
    wrong += await parts.prove(deployment, waves, say)
    return wrong


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
