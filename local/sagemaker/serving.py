"""Serves one endpoint configuration: its instances, their health, and the choice of one."""

import asyncio
import contextlib
import logging
from pathlib import Path

import aiohttp

from local import processes
from local.sagemaker.runner import Container, Runner, Running
from local.sagemaker.telemetry import Add, Tail, invocation
from local.sagemaker.weights import LINKED, Access, WeightsError, fetch
from local.state import Endpoint, Variant

log = logging.getLogger("local.sagemaker")

# SageMaker's default for the start-up health check of a variant, in seconds.
DEFAULT_STARTUP_S = 600
# Seconds that a container has to answer /ping.
_PING_S = 2.0
_PING_EVERY_S = 0.1
_RESTART_FIRST_S = 0.5
_RESTART_LAST_S = 30.0
_CANNOT_START = "model: cannot start: "
"""How our container's line begins that says why it does not start."""


class ServingError(Exception):
    """The endpoint could not be started. The message is its failure reason."""


class Instance:
    """One container of a variant. It is started again when it ends."""

    def __init__(self, variant: Variant, number: int, folder: Path, log_file: Path) -> None:
        """`folder` is where the weights are stored."""
        self.variant = variant
        self.number = number
        self.weights = folder
        self.log = log_file
        self.outstanding = 0
        self.running: Running | None = None
        self.healthy = False

    def kill(self) -> None:
        """Send SIGKILL; the container is started again."""
        if self.running is not None:
            self.running.kill()

    @property
    def port(self) -> int | None:
        """The port while the container can be invoked, else None."""
        return self.running.port if self.running and self.healthy else None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the container requires of its callers."""
        return self.running.headers if self.running else {}


class Serving:
    """All instances of one endpoint configuration."""

    def __init__(
        self,
        endpoint: Endpoint,
        directory: Path,
        runner: Runner,
        objects: Access,
        session: aiohttp.ClientSession,
        add: Add,
    ) -> None:
        """Nothing is started yet.

        `directory` is the local cloud's; `add` takes log lines and metrics.
        """
        self._add = add
        self._tails: list[Tail] = []
        self.endpoint = endpoint
        self._runner = runner
        self._objects = objects
        self._session = session
        self._keepers: list[asyncio.Task[None]] = []
        self._linked = directory / LINKED
        folder = directory / "models" / endpoint.config
        self.instances = [
            Instance(
                variant,
                number,
                folder / variant.name,
                directory
                / "logs"
                / f"endpoint-{endpoint.key.replace('/', '-')}-{variant.name}-{number}.log",
            )
            for variant in endpoint.variants
            for number in range(variant.instances)
        ]

    async def start(self) -> None:
        """Fetch the weights, start all instances and wait until each answers.

        Raises ServingError.
        """
        endpoint = self.endpoint
        if not self.instances and not endpoint.hosts_components and not endpoint.component:
            raise ServingError(
                f"The endpoint configuration {self.endpoint.config} has no variant with an "
                "instance."
            )
        try:
            for variant in endpoint.variants:
                folder = next(
                    (item.weights for item in self.instances if item.variant is variant), None
                )
                if folder is None:  # a component without copies
                    continue
                self._objects.pull(variant.image, variant.role)
                await fetch(self._objects, variant.model_data, folder, variant.role, self._linked)
        except WeightsError as error:
            raise ServingError(str(error)) from error
        self._tails = [
            Tail(endpoint, item.variant, item.number, item.log, self._add)
            for item in self.instances
        ]
        starts = [asyncio.create_task(self._bring_up(instance)) for instance in self.instances]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for task in starts:
                task.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            raise
        self._keepers = [asyncio.create_task(self._keep(instance)) for instance in self.instances]

    async def stop(self) -> None:
        """Stop all instances."""
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        running = [instance.running for instance in self.instances if instance.running]
        await asyncio.gather(*(item.stop() for item in running))
        await asyncio.gather(*(tail.stop() for tail in self._tails))

    def invoked(self, variant: Variant, status: int, seconds: float) -> None:
        """Record an invocation: its `status` (0 without an answer) and its time in seconds."""
        running = sum(instance.outstanding for instance in self.instances)
        self._add(invocation(self.endpoint, variant, status, seconds, running))

    def least_busy(self) -> Instance | None:
        """Return the healthy instance with the fewest invocations in progress, or None."""
        ready = [instance for instance in self.instances if instance.port is not None]
        return min(ready, key=lambda instance: instance.outstanding, default=None)

    async def _bring_up(self, instance: Instance) -> None:
        """Start the instance and wait for its first good /ping.

        Raises ServingError with the last lines of its log.
        """
        variant = instance.variant
        limit = variant.startup_timeout or DEFAULT_STARTUP_S
        instance.healthy = False
        before = instance.log.stat().st_size if instance.log.exists() else 0
        try:
            running = await self._runner.start(
                Container(
                    name=f"{self.endpoint.name}-{variant.name}-{instance.number}",
                    image=variant.image,
                    environment=variant.environment,
                    weights=instance.weights,
                    log=instance.log,
                )
            )
        except OSError as error:
            raise ServingError(
                f"The container of variant {variant.name} could not be started: {error}."
            ) from error
        instance.running = running
        log.info(
            "endpoint %s: container on port %d, waiting for /ping", self.endpoint.name, running.port
        )
        ended = asyncio.create_task(running.ended())
        try:
            async with asyncio.timeout(limit):
                while not await self._ping(running):
                    await asyncio.wait([ended], timeout=_PING_EVERY_S)
                    if ended.done():
                        raise ServingError(
                            f"The container of variant {variant.name} ended with status "
                            f"{ended.result()} before it answered /ping: "
                            f"{_said(instance.log, before)} (log: {instance.log})"
                        )
        except TimeoutError as error:
            raise ServingError(
                f"The container of variant {variant.name} did not pass the ping health check "
                f"within {limit} s: {_said(instance.log, before)} (log: {instance.log})"
            ) from error
        finally:
            ended.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ended
        instance.healthy = True

    async def _ping(self, running: Running) -> bool:
        try:
            async with self._session.get(
                f"http://127.0.0.1:{running.port}/ping",
                headers=running.headers,
                timeout=aiohttp.ClientTimeout(total=_PING_S),
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _keep(self, instance: Instance) -> None:
        """Start the instance again whenever it ends, after a wait that grows with each failure."""
        delay = _RESTART_FIRST_S
        while True:
            assert instance.running is not None  # noqa: S101 - it was brought up
            status = await instance.running.ended()
            instance.healthy = False
            await instance.running.stop()
            log.warning(
                "endpoint %s: the container of %s ended with status %s; starting it again",
                self.endpoint.name,
                instance.variant.name,
                status,
            )
            await asyncio.sleep(delay)
            try:
                await self._bring_up(instance)
                delay = _RESTART_FIRST_S
            except ServingError as error:
                log.warning("endpoint %s: %s", self.endpoint.name, error)
                delay = min(delay * 2, _RESTART_LAST_S)


def _said(log_file: Path, since: int) -> str:
    """Return why a container did not start: its own words for that, else its last lines."""
    lines = processes.last_lines(log_file, since=since)
    return lines[max(0, lines.rfind(_CANNOT_START)) :]
