"""Compare the engine alone with the engine behind the container's server.

    python -m bench.model [--quick] [--rounds 3] [--seconds 6]

The figures are tokens/s, TTFT and CPU a token, by the number of streams. Each is the median of the
rounds. Both run llama.cpp with the demo model and the same settings, in separate processes and in
turns. The client of the server runs beside it and takes its CPU too. On a machine with two cores
that lowers tokens/s; CPU a token is the server's alone. Writes bench/results/model.json and .md.
Linux only.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from bench.model.load import measure

RESULTS = Path(__file__).parents[1] / "results" / "model.json"
STREAMS = (1, 8, 32, 128)
ENVIRONMENT = {
    "SLUICE_MODEL_DIR": str(Path(__file__).parents[2] / "demo_model" / "weights"),
    "SLUICE_HOST": "127.0.0.1",
    "SLUICE_PARALLEL": "128",
    "SLUICE_CONTEXT_TOKENS": "256",
}


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="What the container's server costs.")
    parser.add_argument(
        "--quick", action="store_true", help="one round of two seconds; writes no results"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    rounds, seconds = (1, 2.0) if args.quick else (args.rounds, args.seconds)
    rows: list[dict[str, Any]] = []
    for streams in STREAMS:
        samples: dict[str, list[dict[str, float]]] = {"engine": [], "server": []}
        for _ in range(rounds):
            samples["engine"].append(_alone(streams, seconds))
            samples["server"].append(_served(streams, seconds))
        rows += [
            {"streams": streams, "what": part, **_median(figures)}
            for part, figures in samples.items()
        ]
        print("\n".join(_line(row) for row in rows[-2:]), file=sys.stderr, flush=True)
    table = _table(rows)
    print(table)
    if not args.quick:
        content = {
            "machine": _machine(),
            "engine": "llama.cpp, demo model",
            "rounds": rounds,
            "seconds": seconds,
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({**content, "rows": rows}, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(
            f"{_machine()}; {rounds} rounds of {seconds:g} s\n\n{table}\n"
        )
    return 0


def _environment(**extra: str) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")},
        **ENVIRONMENT,
        **extra,
    }


def _alone(streams: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.model.alone", str(streams), str(seconds)]
    completed = subprocess.run(
        command,
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    return dict(json.loads(completed.stdout))


def _served(streams: int, seconds: float) -> dict[str, float]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = _environment(SAGEMAKER_BIND_TO_PORT=str(port))
    process = subprocess.Popen(
        [sys.executable, "-m", "model", "serve"],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        used = _cpu(process.pid)
        tally = asyncio.run(measure(port, streams, seconds))
        tally.cpu = _cpu(process.pid) - used
    finally:
        process.terminate()
        process.wait(30)
    return tally.row()


def _wait(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise TimeoutError("the container does not start")
        time.sleep(0.05)


def _cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _median(samples: list[dict[str, float]]) -> dict[str, float]:
    return {
        name: round(statistics.median(sample[name] for sample in samples), 2) for name in samples[0]
    }


def _line(row: dict[str, Any]) -> str:
    first = f"{row['ttft_p50_ms']:.1f} | {row['ttft_p99_ms']:.1f}"
    return (
        f"| {row['streams']} | {row['what']} | {row['tokens_s']:,.0f} | {first} | "
        f"{row['cpu_us_token']:.0f} |"
    )


def _table(rows: list[dict[str, Any]]) -> str:
    head = (
        "| streams | what | tokens/s | TTFT p50, ms | TTFT p99, ms | CPU a token, us "
        "|\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *map(_line, rows)])


def _machine() -> str:
    """Return a description of the machine."""
    names = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    cpu = names[0].partition(":")[2].strip() if names else platform.machine()
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return (
        f"{os.cpu_count()} x {cpu}, {system}, load average {os.getloadavg()[1]:.1f} (of all "
        "processes)"
    )


if __name__ == "__main__":
    sys.exit(main())
