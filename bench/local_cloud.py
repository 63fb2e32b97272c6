"""What a local cloud costs its machine: the time to its first token, and CPU and memory while idle.

    python -m bench.local_cloud [--seconds 60]

Runs `sluice up` twice in a folder of its own. The first run makes what later ones find, such as the
package of the functions, and the second one is measured. When the local cloud has settled, nobody
calls it while the CPU time of all its processes is added up, also of those that come and go. Writes
bench/results/local_cloud.json. The exit status is 1 if a bound is not met. It needs Linux.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.adapter import processes
from bench.adapter.__main__ import machine
from cli.commands.up import QUESTION
from local.cloud import LocalCloud

RESULTS = Path("bench/results/local_cloud.json")
BOUNDS = {"first_token_s": 20.0, "idle_cpu_percent": 2.0, "memory_mb": 500.0}
"""Seconds from the start of `sluice up`, per cent of one core, and megabytes (10**6)."""
_SETTLED_S = 70
"""Seconds after which idle environments of functions have ended, and each schedule has run."""
_QUESTION = f"{QUESTION}\n"
_UP = """
import sys
from pathlib import Path
from cli.lib import project
project.LOCAL = Path(sys.argv[1])
project.LOGS = project.LOCAL / "logs"
from cli.main import main
sys.exit(main(["up", "--port", sys.argv[2]]))
"""
"""`sluice up` with another folder for its state."""


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="What a local cloud costs its machine.")
    parser.add_argument("--seconds", type=int, default=60, help="time without calls (60)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args.seconds)
    RESULTS.write_text(
        json.dumps({**result, "bounds": BOUNDS, "machine": machine()}, indent=1) + "\n"
    )
    met = {name: result[name] < bound for name, bound in BOUNDS.items()}
    for name, bound in BOUNDS.items():
        print(f"{name}: {result[name]}, under {bound:g}: {'met' if met[name] else 'NOT met'}")
    return 0 if all(met.values()) else 1


def measure(folder: Path, seconds: int) -> dict[str, Any]:
    """Return the figures of `BOUNDS`, the CPU seconds of `sluice up` and all that it started, and
    the busiest and the largest processes.
    """
    try:
        up(folder)
        stop(folder)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        first_token = up(folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cloud = LocalCloud.find(folder)
        if cloud is None:
            raise RuntimeError("the local cloud has ended; its log has the reason")
        work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        work += processes.cpu([cloud.pid])
        time.sleep(_SETTLED_S)
        used = cpu(cloud.pid, seconds)
        sizes = {name_of(pid): proportional(pid) for pid in processes.tree(cloud.pid)}
        busiest = sorted(used.items(), key=lambda item: -item[1])[:5]
        return {
            "first_token_s": round(first_token, 1),
            "up_cpu_s": round(work, 1),
            "idle_cpu_percent": round(sum(used.values()) / seconds * 100, 2),
            "memory_mb": round(sum(sizes.values()) / 1e6),
            "processes": len(sizes),
            "idle_s": seconds,
            "busiest_percent": {name: round(cpu / seconds * 100, 3) for name, cpu in busiest},
            "largest_mb": {
                name: round(size / 1e6, 1)
                for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:5]
            },
        }
    finally:
        stop(folder)


def up(folder: Path) -> float:
    """Run `sluice up`. Return the seconds to the first character of the answer.

    Raises:
        RuntimeError: it failed.

    """
    began = time.monotonic()
    with processes.free_port() as port:
        command = [sys.executable, "-c", _UP, str(folder), str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None  # noqa: S101 (it is a pipe)
    printed, first = b"", 0.0
    while piece := os.read(process.stdout.fileno(), 4096):
        printed += piece
        if not first and printed.partition(_QUESTION.encode())[2].strip():
            first = time.monotonic() - began
    process.stdout.close()
    if process.wait() or not first:
        raise RuntimeError(f"`sluice up` failed: {printed.decode(errors='replace')[-500:]}")
    return first


def stop(folder: Path) -> None:
    """Stop the local cloud in a folder, if one runs there."""
    cloud = LocalCloud.find(folder)
    if cloud is not None:
        cloud.stop()


def cpu(root: int, seconds: int) -> dict[str, float]:
    """Return the CPU seconds that each process of a tree uses within some seconds.

    A process that comes and goes counts if it lives for a second. The names are the command lines.
    """
    before = {pid: processes.own_cpu(pid) for pid in processes.tree(root)}
    last: dict[int, float] = {}
    names: dict[int, str] = {}
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(1)
        for pid in processes.tree(root):
            with contextlib.suppress(OSError):  # it may have ended
                last[pid] = processes.own_cpu(pid)
                names[pid] = name_of(pid)
    return {names[pid]: used - before.get(pid, 0.0) for pid, used in last.items() if pid in names}


def name_of(pid: int) -> str:
    """Return the id of a process and the end of its command line, without the names of folders."""
    command = b""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    words = (word.rsplit("/", 1)[-1] for word in command.decode(errors="replace").split())
    return f"{pid} {' '.join(words)[-80:]}"


def proportional(pid: int) -> int:
    """Return the bytes of a process, with its share of the pages that it shares (PSS)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
