"""The cost of a cold start: the time until the function is ready, and until the first byte.

    python -m bench.coldstart [--rounds 5] [--ours]

A function is ready at its first `/next`, another server when its port is open. The results go to
bench/results/coldstart.json: the medians of each server, the package's sizes, and the time of the
imports. The function runs from its package, as on Lambda, on the local Runtime API. It runs once
with the bytecode of a package built with the target's Python, once without, and once with uvloop.
LiteLLM and the tutorial's adapter run beside it.
"""

import argparse
import asyncio
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.adapter import processes, servers
from bench.adapter.load import Client, run
from infra.packaging.package import Package, Target, build
from infra.settings.deployment import host_architecture, host_python_version
from local.lambda_.launch import INTERPRETER

RESULTS = Path("bench/results/coldstart.json")
_NAMES = ("ready_cpu_s", "ready_wall_s", "ready_rss_mb", "first_cpu_s", "first_wall_s")


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="Cold starts.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", action="store_true", help="without the other adapters")
    args = parser.parse_args()
    host = Target(
        python_version=host_python_version(), architecture=host_architecture(), wheels="host"
    )
    built = build(root=servers.ROOT, target=host)
    on_uvloop = build(root=servers.ROOT, target=host, content="uvloop")
    names = ["sluice", "sluice without bytecode", "sluice with uvloop"] + (
        [] if args.ours else ["fastapi-boto3", "litellm"]
    )
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        setting, stand_ins = servers.stand_ins(Path(folder))
        bare = Path(folder) / "bare"
        shutil.copytree(built.path, bare, ignore=shutil.ignore_patterns("__pycache__"))
        codes = dict(zip(names, (built.path, bare, on_uvloop.path), strict=False))
        try:
            for number in range(args.rounds + 1):
                for name in names:
                    code = codes.get(name)
                    figures = asyncio.run(_one(name, setting, code))
                    if number:  # the first round fills the file cache and does not count
                        samples[name].append(figures)
        finally:
            processes.stop(stand_ins)
    rows = [
        {
            "server": name,
            **{
                figure: round(statistics.median(it[figure] for it in figures), 3)
                for figure in _NAMES
            },
        }
        for name, figures in samples.items()
    ]
    arm = Target(python_version="3.14", architecture="arm64", wheels="lambda")
    packages = [
        _sizes(built),
        _sizes(build(root=servers.ROOT, target=arm)),
        _sizes(build(root=servers.ROOT, target=arm, content="uvloop")),
    ]
    result = {
        "servers": rows,
        "packages": packages,
        "imports": _imports(built.path),
        "rounds": args.rounds,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    console = Console(width=120)
    for row in (*rows, *packages):
        console.print(", ".join(f"{name} {value}" for name, value in row.items()))
    console.print(
        "imports, ms by itself: "
        + ", ".join(f"{module['module']} {module['ms']}" for module in result["imports"])
    )
    return 0


async def _one(name: str, setting: servers.Setting, code: Path | None) -> dict[str, float]:
    """Start a server once and return its figures."""
    began = time.perf_counter()
    if code is None:
        server = await servers.start(name, setting, 1)
        ready = (processes.cpu(server.pids), time.perf_counter(), processes.resident(server.pids))
    else:
        loop = "uvloop" if name == "sluice with uvloop" else "asyncio"
        server, ready = await _environment(setting, code, loop)
    try:
        clients: list[Client] = await server.clients(1)
        [recording] = await run(clients, requests=1, tokens=1, rate=0, seconds=60)
        first = (processes.cpu(server.pids), recording.pieces[0][0])
        for client in clients:
            client.close()
    finally:
        server.stop()
    figures = (ready[0], ready[1] - began, ready[2], first[0], first[1] - began)
    return dict(zip(_NAMES, figures, strict=True))


async def _environment(
    setting: servers.Setting, code: Path, event_loop: str
) -> tuple[servers.Server, tuple[float, float, float]]:
    """Start an environment from a package. Return it with its figures.

    They are taken when the environment asks for its first invocation.
    """
    ready: asyncio.Future[tuple[float, float, float]] = asyncio.get_running_loop().create_future()
    server = servers.Server("sluice", idle=asyncio.Queue())

    def on_next() -> None:
        if not ready.done():
            ready.set_result(
                (processes.cpu(server.pids), time.perf_counter(), processes.resident(server.pids))
            )

    variables = {"PYTHONDONTWRITEBYTECODE": "1", "SLUICE_EVENT_LOOP": event_loop}
    await servers.environment(server, code, setting, 1, on_next, variables)
    return server, await ready


def _sizes(package: Package) -> dict[str, Any]:
    """Return the sizes of a package, in megabytes (10**6), zipped as CDK does."""
    files = [path for path in package.path.rglob("*") if path.is_file()]
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(package.path))
    return {
        "target": package.path.name.removeprefix("function-"),
        "zip_mb": round(len(zipped.getvalue()) / 1e6, 2),
        "unzipped_mb": round(sum(path.stat().st_size for path in files) / 1e6, 2),
        "bytecode": package.bytecode,
    }


def _imports(code: Path) -> list[dict[str, Any]]:
    """Return the twelve packages that take longest to import.

    A package's time is the sum of its modules' own times, in milliseconds.
    """
    command = [INTERPRETER, "-X", "importtime", "-c", "import lambda_fn.stream.main"]
    best: dict[str, float] = {}
    for _ in range(5):
        completed = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(code)}
        )
        times: Counter[str] = Counter()
        for line in completed.stderr.splitlines():
            own, _, module = (
                line.removeprefix("import time:").split("|")
                if line.count("|") == 2
                else ("", "", "")
            )
            if own.strip().isdecimal():
                times[module.strip().partition(".")[0]] += int(own)
        best = {name: min(best.get(name, 1e9), value / 1000) for name, value in times.items()}
    longest = sorted(best.items(), key=lambda item: -item[1])
    return [{"module": name, "ms": round(value, 1)} for name, value in longest[:12]]


if __name__ == "__main__":
    sys.exit(main())
