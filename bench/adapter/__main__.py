"""Run the servers side by side.

    python -m bench.adapter [--quick | --paced] [--rounds 5] [--servers sluice,relay] [--streams 8]
        [--out bench/results/adapter.json]

Each round runs every scenario, and each scenario runs every server in turn.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.adapter import plans, processes, servers
from bench.adapter.report import print_rows, print_verdicts
from bench.adapter.rows import Row, Scenario, sample
from bench.adapter.targets import verdicts

RESULTS = Path("bench/results/adapter.json")
_TIMEOUT_S = 120.0


def main() -> int:
    """Run the benchmark, write and print the results, and return the exit status.

    It is 1 if a stream was incomplete. A missed target does not change it.
    """
    parser = argparse.ArgumentParser(description="The stream function beside other adapters.")
    parser.add_argument(
        "--quick", action="store_true", help="only the scenarios that the targets need"
    )
    parser.add_argument(
        "--paced",
        action="store_true",
        help="only streams at the pace of models, and bursts of them",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--servers", default="", help="only these servers, separated by commas")
    parser.add_argument(
        "--streams", type=int, default=0, help="only scenarios with this number of streams"
    )
    parser.add_argument("--tokens", type=int, default=0, help="length of all answers in tokens")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    scenarios = plans.QUICK if args.quick else plans.PACED if args.paced else plans.full()
    if args.servers:
        names = set(args.servers.split(","))
        scenarios = tuple(
            replace(scenario, servers=tuple(name for name in scenario.servers if name in names))
            for scenario in scenarios
        )
    if args.tokens:
        scenarios = tuple(replace(scenario, tokens=args.tokens) for scenario in scenarios)
    scenarios = tuple(
        scenario
        for scenario in scenarios
        if scenario.servers and args.streams in (0, scenario.streams)
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = asyncio.run(_run(scenarios, args.rounds, args.out))
    print_rows(rows)
    cold = args.out.with_name("coldstart.json")
    print_verdicts(verdicts(rows, json.loads(cold.read_text()) if cold.exists() else None))
    return 0 if all(row["complete"] for row in rows) else 1


async def _run(scenarios: tuple[Scenario, ...], rounds: int, out: Path) -> list[dict[str, Any]]:
    names = sorted({"direct", *(name for scenario in scenarios for name in scenario.servers)})
    rows = {
        (scenario, name): Row(name, scenario)
        for scenario in scenarios
        for name in ("direct", *scenario.servers)
    }
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        setting, stand_ins = servers.stand_ins(Path(folder))
        started: list[servers.Server] = []
        try:
            for name in names:
                max_streams = max(
                    scenario.streams
                    for scenario in scenarios
                    if name in ("direct", *scenario.servers)
                )
                started.append(server := await servers.start(name, setting, max_streams))
                await server.warm(min(max_streams, 32))
            for number in range(rounds):
                for scenario in scenarios:
                    turn = [
                        server for server in started if server.name in ("direct", *scenario.servers)
                    ]
                    for server in turn[number % len(turn) :] + turn[: number % len(turn)]:
                        print(
                            f"round {number + 1}/{rounds}: {scenario.name}: {server.name}",
                            file=sys.stderr,
                        )
                        rows[scenario, server.name].samples.append(
                            await sample(server, scenario, seconds=_TIMEOUT_S)
                        )
                results = _write(rows, out)  # so that an early stop keeps the rounds before
        finally:
            for server in started:
                server.stop()
            processes.stop(stand_ins)
    return results


def _write(rows: dict[tuple[Scenario, str], Row], out: Path) -> list[dict[str, Any]]:
    results = [row.as_json(rows[scenario, "direct"]) for (scenario, _), row in rows.items()]
    out.write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
    return results


def machine() -> dict[str, Any]:
    """Return a description of the machine."""
    model = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit.stdout.strip(),
        "cpu": model[0].partition(": ")[2] if model else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[1], 2),
    }


if __name__ == "__main__":
    sys.exit(main())
