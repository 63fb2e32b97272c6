"""The data plane of SageMaker: brings endpoints to the desired state, and invokes them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from local.faults.plan import Plan
from local.limits import Limits
from local.sagemaker.invoke import invoke
from local.sagemaker.runner import Runner
from local.sagemaker.serving import Serving, ServingError
from local.sagemaker.weights import Access
from local.shipper import Shipper
from local.state import Endpoint

log = logging.getLogger("local.sagemaker")

# In seconds. It is shorter than the timeout of any server, so that no pooled connection is used
# that the container has just closed.
_KEEPALIVE_S = 2.0


async def _nowhere(items: list[dict[str, Any]]) -> None:
    """Drop log lines and metrics."""


class _Entry:
    """One endpoint: the desired configuration, the serving one, and the change in progress."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.desired = endpoint
        self.serving: Serving | None = None
        self.status = "Creating"
        self.reason: str | None = None
        self.task: asyncio.Task[None] | None = None


class Endpoints:
    """All endpoints."""

    def __init__(
        self,
        directory: Path,
        objects: Access,
        runner: Runner,
        *,
        faults: Plan,
        on_change: Callable[[], None] = lambda: None,
        limits: Limits | None = None,
        send: Callable[[list[dict[str, Any]]], Awaitable[None]] = _nowhere,
    ) -> None:
        """Nothing is started yet.

        `on_change` is called when `observe` has a new result. `send` takes log lines and metrics.
        """
        self._shipper = Shipper(send)
        self._faults = faults
        self._limits = limits or Limits()
        self._directory = directory
        self._objects = objects
        self._runner = runner
        self._on_change = on_change
        self._entries: dict[str, _Entry] = {}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the HTTP client."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def drain(self) -> None:
        """Stop every container. Those of ours let their answers end for some seconds."""
        await asyncio.gather(*(self._remove(entry) for entry in self._entries.values()))

    async def stop(self) -> None:
        """Stop every container."""
        await self.drain()
        await self._shipper.flush()
        if self._session is not None:
            await self._session.close()

    async def apply(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Begin all changes.

        Unwanted containers are stopped first. New ones start in the background.
        """
        by_name = {endpoint.key: endpoint for endpoint in endpoints}
        removed = [name for name in self._entries if name not in by_name]
        await asyncio.gather(*(self._remove(self._entries.pop(name)) for name in removed))
        for endpoint in endpoints:
            entry = self._entries.get(endpoint.key)
            if entry is None:
                entry = self._entries[endpoint.key] = _Entry(endpoint)
            elif entry.desired.config == endpoint.config:
                continue
            else:
                await _cancel(entry)
                entry.desired, entry.status, entry.reason = endpoint, "Updating", None
            entry.task = asyncio.create_task(self._bring_up(entry))

    def observe(self) -> dict[str, dict[str, Any]]:
        """Return status, reason and configuration of each endpoint."""
        return {
            name: {"status": entry.status, "reason": entry.reason, "config": entry.desired.config}
            for name, entry in self._entries.items()
        }

    def status(self) -> list[dict[str, Any]]:
        """Return the endpoints for `/_local/status`.

        Each has its containers, with the headers that each container requires.
        """
        return [
            {
                "name": name,
                "status": entry.status,
                "reason": entry.reason,
                "containers": [
                    {"port": item.port, "headers": item.headers}
                    for item in (entry.serving.instances if entry.serving else ())
                    if item.port
                ],
            }
            for name, entry in self._entries.items()
        ]

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        """Answer InvokeEndpoint and InvokeEndpointWithResponseStream."""
        name, component = (
            request.match_info["name"],
            request.headers.get("X-Amzn-SageMaker-Inference-Component"),
        )
        entry = self._entries.get(f"{name}/{component}" if component else name)
        assert self._session is not None  # noqa: S101 - start() has made it
        return await invoke(
            request, entry.serving if entry else None, self._session, self._faults, self._limits
        )

    async def _bring_up(self, entry: _Entry) -> None:
        endpoint = entry.desired
        old = entry.serving
        if old is not None and old.endpoint.config == endpoint.config:
            entry.status = "InService"  # this change undoes an update that failed
        else:
            assert self._session is not None  # noqa: S101 - start() has made it
            serving = Serving(
                endpoint,
                self._directory,
                self._runner,
                self._objects,
                self._session,
                self._shipper.add,
            )
            log.info("endpoint %s: starting %d container(s)", endpoint.key, len(serving.instances))
            try:
                await serving.start()
            except BaseException as error:
                await serving.stop()
                if not isinstance(error, Exception):
                    raise
                is_expected = isinstance(error, ServingError)
                entry.reason = str(error) if is_expected else f"The local cloud failed: {error!r}"
                entry.status = "Failed"
                log.log(
                    logging.WARNING if is_expected else logging.ERROR,
                    "endpoint %s: %s",
                    endpoint.key,
                    entry.reason,
                )
                self._on_change()
                return
            entry.serving, entry.status = serving, "InService"
            log.info("endpoint %s: in service", endpoint.key)
            if old is not None:
                await old.stop()
        self._on_change()

    async def _remove(self, entry: _Entry) -> None:
        await _cancel(entry)
        if entry.serving is not None:
            await entry.serving.stop()
            entry.serving = None


async def _cancel(entry: _Entry) -> None:
    if entry.task is not None:
        entry.task.cancel()
        await asyncio.gather(entry.task, return_exceptions=True)
