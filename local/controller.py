"""Starts the control plane's process, follows its state by long poll, and reports to it."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from local import processes, trust
from local.state import State, parse

log = logging.getLogger("local.controller")

Observed = dict[str, dict[str, dict[str, Any]]]
# In seconds. The import of moto and its models takes two to four on an idle machine.
_START_TIMEOUT_S = 120.0


class ControlPlaneError(RuntimeError):
    """The control plane did not start, or did not answer as expected."""


class ControlPlane:
    """The control plane's process. Each request to `url` needs `headers`."""

    def __init__(self, directory: Path) -> None:
        """Nothing runs yet. The log is logs/control.log in `directory`."""
        self._log = directory / "logs" / "control.log"
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self.url = ""
        self.headers: dict[str, str] = {}

    async def start(self, environment: dict[str, str]) -> None:
        """Start the process and wait until it listens.

        Raises ControlPlaneError with the last lines of its log.
        """
        with self._log.open("ab") as output:
            self._process = await processes.start(
                [sys.executable, "-m", "local.control_plane"],
                environment=environment,
                directory=Path.cwd(),
                output=output,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _START_TIMEOUT_S)
            announced = json.loads(line)
            self.url = f"http://127.0.0.1:{announced['port']}"
            self.headers = {trust.CONTROL: announced["token"]}
        except (ValueError, KeyError, TimeoutError) as error:
            reason = processes.last_lines(self._log) or "it printed no port"
            raise ControlPlaneError(f"the control plane did not start: {reason}") from error
        self._session = aiohttp.ClientSession(
            headers=self.headers, timeout=aiohttp.ClientTimeout(total=300)
        )

    async def ended(self) -> None:
        """Return when the process has ended."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Stop the process."""
        if self._session is not None:
            await self._session.close()
        if self._process is not None:
            await processes.stop(self._process, grace=0)

    async def get(self, path: str, **query: str) -> bytes:
        """Return the body of a path below `/_control/`.

        Raises ControlPlaneError, also for a status other than 200 and 204.
        """
        assert self._session is not None  # noqa: S101 - start() has made it
        try:
            async with self._session.get(f"{self.url}/_control/{path}", params=query) as response:
                body = await response.read()
                if response.status in {200, 204}:
                    return body
                raise ControlPlaneError(
                    f"the control plane answers {response.status} to {path} {query}"
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ControlPlaneError(
                f"the control plane does not answer to {path}: {error}"
            ) from error

    async def get_json(self, path: str, **query: str) -> Any:
        """Return the JSON of a path below `/_control/`.

        Raises ControlPlaneError.
        """
        return json.loads(await self.get(path, **query))

    async def post(self, path: str, value: object) -> None:
        """Send JSON to a path below `/_control/`.

        Raises ControlPlaneError.
        """
        assert self._session is not None  # noqa: S101 - start() has made it
        try:
            async with self._session.post(f"{self.url}/_control/{path}", json=value) as response:
                if response.status >= 400:
                    raise ControlPlaneError(
                        f"the control plane answers {response.status} to {path}"
                    )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ControlPlaneError(
                f"the control plane does not answer to {path}: {error}"
            ) from error

    async def report(self, applied: int, observed: Observed) -> None:
        """Report the observed state together with the version of the state that was applied.

        Raises aiohttp.ClientError.
        """
        assert self._session is not None  # noqa: S101 - start() has made it
        async with self._session.post(
            f"{self.url}/_control/report", json={"applied": applied, **observed}
        ) as response:
            response.raise_for_status()


class Reconciler:
    """Brings the data planes to the desired state, and reports their observations."""

    def __init__(
        self,
        control: ControlPlane,
        apply: Callable[[State], Awaitable[None]],
        observe: Callable[[], Observed],
    ) -> None:
        """`apply` brings the data planes to a state; slow work goes on in the background.

        `observe` returns what they observe.
        """
        self._control = control
        self._apply = apply
        self._observe = observe
        self._changed = asyncio.Event()
        self._reporting = asyncio.Lock()
        self._applied = 0
        self.state: State | None = None

    def observed_changed(self) -> None:
        """Request a report, because the result of `observe` has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Follow the control plane until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._report())

    async def _follow(self) -> None:
        while True:
            body = await self._control.get("state", after=str(self._applied))
            if not body:
                continue
            state = parse(json.loads(body))
            try:
                await self._apply(state)
            except Exception:
                # One bad resource must not keep all others from being deployed and reported.
                log.exception("could not apply version %d of the deployed state", state.version)
            self.state, self._applied = state, state.version
            await self._send()

    async def _report(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._send()

    async def _send(self) -> None:
        async with self._reporting:
            await self._control.report(self._applied, self._observe())
