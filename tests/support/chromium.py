"""A headless Chromium, driven by its DevTools protocol.

It opens addresses and runs scripts in the page.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

NAME = "chromium"
INSTALL = "Chromium is missing; on Debian: apt-get install -y chromium"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
_START_S = 60
_ANSWER_S = 60


class Page:
    """One tab of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Drive a tab through its DevTools `socket`."""
        self._socket = socket
        self._number = 0

    async def _call(self, method: str, **parameters: object) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(_ANSWER_S):
            while (told := await self._socket.receive_json()).get("id") != self._number:
                pass
        assert "error" not in told, told
        return told["result"]

    async def open(self, url: str) -> None:
        """Open an address. `run` then runs scripts in that page."""
        await self._call("Page.navigate", url=url)
        there = f"location.href === {json.dumps(url)} && document.readyState === 'complete'"
        while not await self.run(there):  # noqa: ASYNC110 - another process's work
            await asyncio.sleep(0.05)

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page. A promise is awaited."""
        found = await self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")


@contextlib.asynccontextmanager
async def page(profile: Path, *, resolve: str) -> AsyncIterator[Page]:
    """Start a browser with an empty profile, and yield a page.

    `resolve` is its --host-resolver-rules.
    """
    command = [
        shutil.which(NAME) or NAME,
        *_FLAGS,
        f"--user-data-dir={profile}",
        f"--host-resolver-rules={resolve}",
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        "about:blank",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        told = profile / "DevToolsActivePort"
        async with asyncio.timeout(_START_S):
            while not (told.exists() and "\n" in told.read_text()):  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(0.05)
        port = told.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                [tab] = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
