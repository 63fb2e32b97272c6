"""The container as a separate process."""

import atexit
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start `python -m model` with these variables. Return the process."""
    return subprocess.Popen(
        [sys.executable, "-m", "model", *arguments],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


_HELD: list[socket.socket] = []


def free_port() -> int:
    """Return a port that no process gets but one that asks for this very port.

    On Linux, a socket that is bound, and does not listen, keeps it until this process ends.
    Elsewhere the port is only free now.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    if sys.platform == "linux":
        _HELD.append(held)
    else:
        held.close()
    return port


@atexit.register
def _release() -> None:
    for held in _HELD:
        held.close()


def wait_for(address: str) -> None:
    """Wait until the container answers /ping."""
    until = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{address}/ping", timeout=60).status_code == 200:
                return
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)
