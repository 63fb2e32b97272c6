"""Start child processes, measure them and end them.

On Linux the figures come from /proc and from the process clocks.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PEERS = Path(".venv-bench/bin")
"""The programs of the environment with the group `bench`."""


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    prints_port: bool = False,
) -> "subprocess.Popen[str]":
    """Start a process.

    With `prints_port`, its standard output is a pipe, on which it prints its port. Otherwise the
    output goes to `log`.
    """
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE if prints_port else file,
            stderr=file,
            text=True,
        )


def port(process: "subprocess.Popen[str]") -> int:
    """Return the port that a process prints."""
    assert process.stdout is not None  # noqa: S101 (`start` opened it)
    return int(process.stdout.readline())


def python(*arguments: str) -> list[str]:
    """Return a command line for this interpreter."""
    return [sys.executable, *arguments]


def tree(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    pids = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                pids += tree(int(child))
    return pids


def cpu(pids: Sequence[int]) -> float:
    """Return the CPU seconds of processes and their descendants, in user and kernel mode."""
    total = 0.0
    for pid in pids:
        for member in tree(pid):
            with contextlib.suppress(OSError):  # it may have ended
                total += own_cpu(member)
    return total


def own_cpu(pid: int) -> float:
    """Return the CPU seconds of one process. Raises OSError if it has ended."""
    return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED, see clock_getcpuclockid(3)


def resident(pids: Sequence[int]) -> float:
    """Return the resident megabytes (10**6) of processes and their descendants."""
    total = 0
    for pid in pids:
        for member in tree(pid):
            with contextlib.suppress(OSError):
                pages = int(Path(f"/proc/{member}/statm").read_text().split()[1])
                total += pages * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def stop(processes: Sequence["subprocess.Popen[str]"]) -> None:
    """Kill these processes and wait until they have ended."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """Yield a free port. It stays reserved until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
