"""What an attack must not affect: the local cloud's processes, and a client with another key."""

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import httpx

from tests.attack.target import ANSWER_WITHIN_S, MODEL, Target
from tests.support import leftovers

MEMORY = {"cloud": 400e6, "control": 900e6, "container": 500e6, "function": 300e6}
"""Resident bytes that one process of a role may have: two to six times what it has at rest."""

TOTAL = 5e9
"""Resident bytes at which the cloud is killed, so that a failed attack fails and takes no machine.
"""

_TRACE = "Traceback (most recent call last)"
_LOOK_S = 0.2
_NEIGHBOURS = 2


class Watch:
    """Samples the memory of a local cloud's processes.

    It keeps the largest process of each role.
    """

    def __init__(self, target: Target) -> None:
        """Watch the cloud of `target`."""
        self._pid = target.cloud.pid
        self._peaks: dict[str, int] = {}

    async def run(self) -> None:
        """Sample until cancelled. Kill the cloud if it takes more than `TOTAL`."""
        while True:
            state = await asyncio.to_thread(leftovers.state, self._pid)
            for role, held in state.items():
                self._peaks[role] = max(self._peaks.get(role, 0), held.largest)
            if sum(held.memory for held in state.values()) > TOTAL:
                os.kill(self._pid, signal.SIGKILL)
            await asyncio.sleep(_LOOK_S)

    def peaks(self) -> dict[str, int]:
        """Return the peak of each role's largest process since the last call, in bytes."""
        found, self._peaks = self._peaks, {}
        return found


class Neighbour:
    """A well-behaved client that streams answers and records how long it waits for each chunk."""

    def __init__(self, target: Target) -> None:
        """Use the other key of `target`."""
        self._target = target
        self._gaps: list[float] = []
        self._since: dict[int, float] = {}
        """The times of the last chunks, by request."""
        self._wrong: list[str] = []
        self.answers = 0

    async def run(self) -> None:
        """Send requests until cancelled."""
        async with (
            self._target.client(self._target.other_key) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(_NEIGHBOURS):
                group.create_task(self._ask(client, number))

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        body = {
            "model": MODEL,
            "stream": True,
            "max_tokens": 40,
            "messages": [{"role": "user", "content": "Tell me a story about a lighthouse."}],
        }
        while True:
            self._since[number], reason = time.monotonic(), None
            try:
                async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    if answer.status_code != 200:
                        await answer.aread()
                        self._wrong.append(
                            f"the neighbour got {answer.status_code} {answer.text[:120]}"
                        )
                        await asyncio.sleep(1)
                        continue
                    async for line in answer.aiter_lines():
                        if not line.startswith("data: "):
                            continue
                        self._gaps.append(time.monotonic() - self._since[number])
                        self._since[number] = time.monotonic()
                        if line != "data: [DONE]":
                            choices = json.loads(line[6:]).get("choices") or [{}]
                            reason = choices[0].get("finish_reason") or reason
            except (httpx.HTTPError, ValueError) as error:
                self._wrong.append(
                    "the neighbour's answer broke off after "
                    f"{time.monotonic() - self._since[number]:.1f} s: {error!r}"
                )
                continue
            if reason not in {"stop", "length"}:
                self._wrong.append(f"the neighbour's answer ended with {reason!r}")
            self.answers += 1

    def felt(self) -> tuple[float, list[str]]:
        """Return the longest wait since the last call, in seconds, and what was wrong.

        A wait that goes on counts as long as it is by now.
        """
        gaps, wrong, self._gaps, self._wrong = self._gaps, self._wrong, [], []
        now = time.monotonic()
        gaps += [now - since for since in self._since.values()]
        return max(gaps, default=ANSWER_WITHIN_S), wrong


def tracebacks(folder: Path) -> list[str]:
    """Return where the log files below `folder` have a traceback: file, exception and place."""
    found = []
    for path in folder.rglob("*.log*"):
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if _TRACE in line:
                rest = lines[number + 1 :]
                end = next((place for place, it in enumerate(rest) if it[:1].strip()), len(rest))
                where = [it.strip() for it in rest[:end] if it.startswith("  File ")][-1:]
                found.append(f"{path.name}: {' '.join([*rest[end : end + 1], *where])[:300]}")
    return found


def planted(folder: Path, marker: str) -> list[str]:
    """Return the lines of all log files below `folder` that contain the marker, as `file: line`."""
    found = []
    for path in folder.rglob("*.log*"):
        with contextlib.suppress(OSError):
            found += [
                f"{path.name}: {line[:160]}"
                for line in path.read_text(errors="replace").splitlines()
                if marker in line
            ]
    return found
