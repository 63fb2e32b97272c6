"""The parent's side of the processes in which grammars are tried, with one that is always ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from model.errors import EngineError, NotReadyError

START_SECONDS = 20.0  # of wall time
_ROOT = Path(__file__).parents[2]
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "HOME", "SYSTEMROOT")


class TooSlowError(Exception):
    """A trial took too much CPU time, or its process died."""


class Process:
    """One process that tries grammars, made by `started`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def started(cls) -> Process:
        """Return a process that is ready.

        Raises EngineError.
        """
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        known = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        process = cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "model.engines.trial_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                # The environment has no secrets, and few memory arenas, which would take up the
                # address space.
                env={**known, "PYTHONPATH": path, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"},
            )
        )
        ready = False
        try:
            await process.verdict(START_SECONDS)
            ready = True
        except (TooSlowError, NotReadyError):
            raise EngineError("the process in which grammars are tried does not start") from None
        finally:
            if not ready:
                await process.stop()
        return process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended, as far as is known."""
        return self._process.returncode is None

    def ask(self, body: bytes, cpu_seconds: float) -> None:
        """Send a trial that may take a number of seconds of CPU time."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        asked = b'{"seconds":%.3f,"body":%b}' % (cpu_seconds, body)
        self._process.stdin.write(len(asked).to_bytes(4, "big") + asked)

    async def verdict(self, seconds: float) -> dict[str, Any]:
        """Return the verdict on the trial.

        Raises TooSlowError, and NotReadyError after `seconds` of wall time.
        """
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        try:
            async with asyncio.timeout(seconds):
                size = int.from_bytes(await self._process.stdout.readexactly(4), "big")
                verdict: dict[str, Any] = json.loads(await self._process.stdout.readexactly(size))
                return verdict
        except TimeoutError:
            raise NotReadyError(
                "the machine is too busy to try the schema; try again shortly"
            ) from None
        except (asyncio.IncompleteReadError, OSError):
            raise TooSlowError from None

    async def stop(self) -> None:
        """Kill the process and wait for its end, so that no zombie is left."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                # process.kill would wait for it too, in addition to the loop's own wait
                os.kill(self.pid, signal.SIGKILL)
        await self._process.wait()


class Spare:
    """A process that is started before it is needed."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Process] | None = None
        self._closed = False

    async def take(self) -> Process:
        """Return the process that is ready, or the next one, and start another.

        Raises EngineError.
        """
        async with self._turn:
            if self._closed:
                raise EngineError("the engine is closed")
            if self._next is None:
                self._next = asyncio.create_task(Process.started())
            starting = self._next
            await asyncio.wait([starting])  # a waiting caller may be cancelled; the start goes on
            if self._closed:
                raise EngineError("the engine is closed")
            self._next = asyncio.create_task(Process.started())
            return starting.result()

    async def close(self) -> None:
        """Stop the spare process, even if it is still starting."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()
            for process in await asyncio.gather(self._next, return_exceptions=True):
                if isinstance(process, Process):
                    await process.stop()
