"""The interface of runners of containers, and the runner that starts processes instead."""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local import processes, trust
from local.third_party import server_of

# In seconds. SageMaker waits 30 s between SIGTERM and SIGKILL, which is too long on a laptop.
_GRACE_S = 5.0
# The container knows its callers by this token. It is a setting of this project's container; AWS's
# images ignore it.
TOKEN = "SLUICE_CALLER_TOKEN"  # noqa: S105 - a variable's name


@dataclass(frozen=True)
class Container:
    """A container to be run. `weights` is the folder that SageMaker mounts at /opt/ml/model."""

    name: str
    image: str
    environment: dict[str, str]
    weights: Path
    log: Path


class Running(Protocol):
    """A started container that listens on loopback, or is about to.

    Each request to it needs `headers`.
    """

    port: int
    headers: dict[str, str]

    async def ended(self) -> int:
        """Wait until the container ends; return its exit status."""

    def kill(self) -> None:
        """Send SIGKILL without waiting for the end."""

    async def stop(self) -> None:
        """Stop the container with SIGTERM, then with SIGKILL."""


class Runner(Protocol):
    """Starts containers."""

    async def start(self, container: Container) -> Running:
        """Start a container.

        Raises OSError.
        """


class ProcessRunner:
    """Runs a command in place of the image.

    The command gets the model's environment and no variable of this process. For one of AWS's
    images it is the stand-in of its server.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """`command` is what the image's entrypoint would run, with `serve` at its end."""
        self._command = tuple(command)

    async def start(self, container: Container) -> Running:
        """Start the process.

        A process has no mounts, so SLUICE_MODEL_DIR names the folder with the weights. It has no
        network namespace, so SLUICE_HOST is loopback.

        Raises OSError.
        """
        held = _bound()
        port = int(held.getsockname()[1])
        token = trust.token()
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "HOME": str(container.weights),
            **container.environment,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SLUICE_MODEL_DIR": str(container.weights),
            # A process has no separate network, so another process of this machine could call it.
            "SLUICE_HOST": "127.0.0.1",
            TOKEN: token,
        }
        if sys.platform != "linux":
            held.close()  # elsewhere no second socket may have the port
        try:
            with container.log.open("ab") as output:
                server = server_of(container.image)
                process = await processes.start(
                    self._command
                    if server is None
                    else (sys.executable, "-m", "local.third_party", server, "serve"),
                    environment=environment,
                    directory=container.weights,
                    output=output,
                )
        except BaseException:
            held.close()
            raise
        return _Process(process, port, token, held)


class _Process:
    """A process whose port `held` keeps until the process has ended."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, token: str, held: socket.socket
    ) -> None:
        self._process = process
        self._held = held
        self.port = port
        self.headers = {trust.CALLER: token}

    async def ended(self) -> int:
        status = await self._process.wait()
        self._held.close()
        return status

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        await processes.stop(self._process, _GRACE_S)
        self._held.close()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with _bound() as sock:
        return int(sock.getsockname()[1])


def _bound() -> socket.socket:
    """Return a socket that is bound to a loopback port and does not listen.

    On Linux, only a process that asks for this very port gets it meanwhile, and it must set
    SO_REUSEADDR, as servers do.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock
