"""Containers for real: an endpoint's image, run by docker or podman as SageMaker runs it.

Sources: the SageMaker developer guide, "Custom Inference Code with Hosting Services" (`docker run IMAGE serve`, port
8080, SIGTERM and 30 s later SIGKILL, /opt/ml/model read-only).
"""

import asyncio
import contextlib
import uuid
from pathlib import Path

from local import processes, trust
from local.sagemaker import engine as engines
from local.sagemaker.runner import TOKEN, Container, Running, free_port

MODEL_FOLDER = "/opt/ml/model"
PORT = 8080
GRACE_S = 30
# The engine's own time for a command, on top of what the container takes.
_ENGINE_S = 20.0


class ContainerRunner:
    """Runs the image that a model names, which the engine must have already: nothing is pulled."""

    def __init__(self, engine: str, directory: Path) -> None:
        """`engine` is docker or podman; containers are labelled with `directory`, the local cloud's."""
        self._engine = engine
        self._directory = directory
        engines.remember(directory, engine)

    async def start(self, container: Container) -> Running:
        """Start it. What the engine itself has to complain about is in the container's log, with an exit status.

        Raises OSError if the engine cannot be run.
        """
        name = f"sluice-{uuid.uuid4().hex[:12]}"
        port = free_port()
        token = trust.token()
        await asyncio.to_thread(_let_read, container.weights)
        command = [
            self._engine,
            "run",
            "--rm",
            *("--pull", "never"),
            *("--name", name),
            *("--label", f"{engines.LABEL}={self._directory}"),
            *("--label", f"{engines.LABEL}.container={container.name}"),
            *("--publish", f"127.0.0.1:{port}:{PORT}"),
            *("--mount", f"type=bind,source={container.weights},target={MODEL_FOLDER},readonly"),
            # A folder of the machine cannot be read under SELinux otherwise, without relabelling it.
            *("--security-opt", "label=disable"),
            *("--stop-signal", "SIGTERM"),
            *("--stop-timeout", str(GRACE_S)),
            *("--log-driver", "none"),  # its output goes to our file alone
            *(part for key, value in container.environment.items() for part in ("--env", f"{key}={value}")),
            # By its name only: other users see a command's arguments.
            *("--env", TOKEN),
            container.image,
            "serve",
        ]
        with container.log.open("ab") as output:
            client = await processes.start(
                command,
                environment={**engines.client_environment(), TOKEN: token},
                directory=self._directory,
                output=output,
            )
        return _Running(self._engine, name, client, port, token)


class _Running:
    """A container by its name, and the engine's client that is attached to it and ends with it."""

    def __init__(self, engine: str, name: str, client: asyncio.subprocess.Process, port: int, token: str) -> None:
        self._engine = engine
        self._client = client
        self.name = name
        self.port = port
        self.headers = {trust.CALLER: token}

    async def ended(self) -> int:
        return await self._client.wait()

    def kill(self) -> None:
        # the client hands SIGKILL to nobody: the engine is asked, and nobody waits for it
        self._killing = asyncio.ensure_future(self._ask("kill", self.name))

    async def stop(self) -> None:
        if self._client.returncode is None:
            await self._ask("stop", self.name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._client.wait(), _ENGINE_S)
        # A client that is gone may have left its container, and one that is not may be about to make it.
        await processes.stop(self._client, grace=0)
        await self._ask("rm", "--force", self.name)

    async def _ask(self, *arguments: str) -> None:
        """Have the engine do something; a container that is not there is no failure."""
        process = await processes.start(
            [self._engine, *arguments],
            environment=engines.client_environment(),
            directory=Path.cwd(),
            output=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(process.wait(), GRACE_S + _ENGINE_S)
        except TimeoutError:
            await processes.stop(process, grace=0)


def _let_read(folder: Path) -> None:
    """Let the image's user, who is nobody here, read the weights whatever our umask is."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
