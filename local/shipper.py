"""Sends the telemetry of the data planes in batches."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger("local.shipper")

# Interval in seconds at which items are sent. One request for each item would slow streams down.
_EVERY_S = 0.25


class Shipper:
    """Collects items and sends them on."""

    def __init__(self, send: Callable[[list[dict[str, Any]]], Awaitable[None]]) -> None:
        """`send` takes items as `local.iam.writer` describes them, and may raise RuntimeError."""
        self._send = send
        self._lines: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, line: dict[str, Any]) -> None:
        """Add an item, which is sent soon."""
        self._lines.append(line)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._later())

    async def flush(self) -> None:
        """Send everything now."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._now()

    async def _later(self) -> None:
        while self._lines:
            await asyncio.sleep(_EVERY_S)
            await self._now()

    async def _now(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            try:
                await self._send(lines)
            except RuntimeError as error:
                log.warning("%d log lines, metrics or traces are lost: %s", len(lines), error)
