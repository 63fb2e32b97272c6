"""Runs an endpoint's image with docker or podman, as SageMaker runs it.

Sources: the SageMaker developer guide, "Custom Inference Code with Hosting Services" (`docker run
IMAGE serve`, port 8080, SIGTERM and 30 s later SIGKILL, /opt/ml/model read-only).
"""

import asyncio
import contextlib
import shutil
import uuid
from pathlib import Path

from local import processes, trust
from local.sagemaker import engine as engines
from local.sagemaker.runner import TOKEN, Container, Running, free_port

MODEL_FOLDER = "/opt/ml/model"
PORT = 8080
GRACE_S = 30
# Seconds that the engine itself needs for a command, in addition to the container's time.
_ENGINE_S = 20.0


class ContainerRunner:
    """Runs the image that a model names. The engine must have it already: nothing is pulled."""

    def __init__(self, engine: str, directory: Path) -> None:
        """`engine` is docker or podman.

        Containers get a label with `directory`, which is the local cloud's.
        """
        self._engine = engine
        self._directory = directory
        engines.remember(directory, engine)

    async def start(self, container: Container) -> Running:
        """Start the container.

        If the engine itself fails, its messages are in the container's log, and the container ends
        with the engine's exit status.

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
            # With SELinux, the container could otherwise not read a folder of the machine that is
            # not relabelled.
            *("--security-opt", "label=disable"),
            *("--stop-signal", "SIGTERM"),
            *("--stop-timeout", str(GRACE_S)),
            *("--log-driver", "none"),  # its output goes only to the log file here
            *(
                part
                for key, value in container.environment.items()
                for part in ("--env", f"{key}={value}")
            ),
            # The variable's value stays out of the command, which other users can see.
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
    """A container by its name, and the engine's client.

    The client is attached to the container and ends with it.
    """

    def __init__(
        self, engine: str, name: str, client: asyncio.subprocess.Process, port: int, token: str
    ) -> None:
        self._engine = engine
        self._client = client
        self.name = name
        self.port = port
        self.headers = {trust.CALLER: token}

    async def ended(self) -> int:
        return await self._client.wait()

    def kill(self) -> None:
        # The client cannot pass SIGKILL to the container, so the engine kills it. Nothing waits for
        # that.
        self._killing = asyncio.ensure_future(self._ask("kill", self.name))

    async def stop(self) -> None:
        if self._client.returncode is None:
            await self._ask("stop", self.name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._client.wait(), _ENGINE_S)
        # A client that ended may have left its container, and one that runs may be about to start
        # it.
        await processes.stop(self._client, grace=0)
        await self._ask("rm", "--force", self.name)

    async def _ask(self, *arguments: str) -> None:
        """Run an engine's command; a missing container is no failure."""
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
    """Make the weights readable for the image's user, who has no other rights on this machine.

    This works with any umask. Links lead out of the folder that the image sees, so they are
    replaced by copies.
    """
    for path in [it for it in folder.rglob("*") if it.is_symlink()]:
        file = path.readlink()
        path.unlink()
        shutil.copyfile(file, path)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
