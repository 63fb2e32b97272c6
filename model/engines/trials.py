"""Grammars are tried in processes of their own before the engine gets them, so that a bad one costs one request.

Native code that makes a grammar or guides by it cannot be interrupted, and may take all memory. So each grammar is
first used for a few tokens in `model.engines.trial_child`, which has little memory and is killed after a time. There
are two lanes with a child each: what is not done in the first within `QUICK_SECONDS` begins anew in the second, so that
an ordinary request never stands behind a hostile one for longer than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

from model.errors import EngineError, InvalidRequestError, OverloadedError, StartError

QUICK_SECONDS = 0.25
SECONDS = 2.0
CPU_SECONDS = 0.5  # of a grammar that is served: its making stops everybody's answers for about so long
MAX_WAITING = 64  # tries before a lane; more are a 429
START_SECONDS = 20.0
_TOO_MUCH = f"it takes more than {SECONDS:g} s or too much memory to prepare; simplify it"
_NO_MEMORY = "bad_alloc"  # native code's word for it, where the child outlived it
_KEPT = 512  # verdicts by the digest of what was tried
_ROOT = Path(__file__).parents[2]
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "HOME", "SYSTEMROOT")


class TooSlowError(Exception):
    """A try did not end in time, or its process did not live to its end."""


class Child:
    """One process, started when it is needed and again after its death; one try at a time."""

    def __init__(self, seconds: float) -> None:
        self.waiting = 0
        self.starts = 0
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._restart: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process that is there now."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Have a process that is ready. Raises EngineError."""
        process = self._process
        if process is not None and process.returncode is None:
            return
        if self._closed:
            raise EngineError("the engine is closed")
        await self.stop()
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        known = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "model.engines.trial_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Nothing secret; and few memory arenas, which would take up the address space.
            env={**known, "PYTHONPATH": path, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"},
        )
        self.starts += 1
        try:
            await self._verdict(START_SECONDS)
        except TooSlowError:
            await self.stop()
            raise EngineError("the process in which grammars are tried does not start") from None

    async def verdict(self, body: bytes) -> dict[str, Any]:
        """What the try came to. Raises TooSlowError, OverloadedError, EngineError."""
        if self.waiting >= MAX_WAITING:
            raise OverloadedError("too many schemas wait to be tried; try again shortly")
        self.waiting += 1
        try:
            async with self._turn:
                return await self._tried(body)
        finally:
            self.waiting -= 1

    async def _tried(self, body: bytes) -> dict[str, Any]:
        done = False
        try:
            await self.start()
            assert self._process is not None  # noqa: S101 - started
            assert self._process.stdin is not None  # noqa: S101 - a pipe
            self._process.stdin.write(len(body).to_bytes(4, "big") + body)
            verdict = await self._verdict(self._seconds)
            done = True
            return verdict
        finally:
            if not done:  # too slow, or the request was cancelled: its answer would be taken for the next one's
                await self.stop()
                self._restart = asyncio.create_task(self._started_again())

    async def _started_again(self) -> None:
        """Have the next process ready before somebody waits for it."""
        async with self._turn:
            if not self._closed:
                with contextlib.suppress(EngineError):  # told to the next who asks
                    await self.start()

    async def _verdict(self, seconds: float) -> dict[str, Any]:
        assert self._process is not None  # noqa: S101 - started
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        try:
            async with asyncio.timeout(seconds):
                size = int.from_bytes(await self._process.stdout.readexactly(4), "big")
                verdict: dict[str, Any] = json.loads(await self._process.stdout.readexactly(size))
                return verdict
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            raise TooSlowError from None

    async def stop(self) -> None:
        """Kill the process and wait for its end, so that no zombie is left."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # process.kill would wait for it too, beside the loop's own wait
        await process.wait()

    async def close(self) -> None:
        """End for good; who still waits for a verdict gets EngineError."""
        self._closed = True
        await self.stop()
        if self._restart is not None:
            await self._restart


class Trials:
    """Tries what is new, and remembers the last verdicts."""

    def __init__(self) -> None:
        self.lanes = (Child(QUICK_SECONDS), Child(SECONDS))
        self._known: OrderedDict[bytes, str | None] = OrderedDict()

    async def start(self) -> None:
        """Start the processes, so that the first request need not wait for them. Raises StartError."""
        for result in await asyncio.gather(*(lane.start() for lane in self.lanes), return_exceptions=True):
            if isinstance(result, EngineError):
                raise StartError(result.message)
            if isinstance(result, BaseException):
                raise result

    async def check(self, guiding: dict[str, Any], param: str) -> None:
        """Raise InvalidRequestError where llama.cpp cannot guide by these fields of a body, or not soon enough."""
        body = json.dumps(guiding).encode()
        digest = hashlib.sha256(body).digest()
        if digest in self._known:
            why = self._known[digest]
        else:
            try:
                why = self._known[digest] = _refusal(await self._tried(body))
            except TooSlowError:  # not remembered: the machine may have been busy
                why = _TOO_MUCH
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        if why is not None:
            raise InvalidRequestError(f"{param}: the schema cannot be used here: {why}", param)

    async def _tried(self, body: bytes) -> dict[str, Any]:
        quick, patient = self.lanes
        try:
            return await quick.verdict(body)
        except TooSlowError:
            return await patient.verdict(body)

    async def close(self) -> None:
        """Stop the processes."""
        await asyncio.gather(*(lane.close() for lane in self.lanes))


def _refusal(verdict: dict[str, Any]) -> str | None:
    if verdict["error"] is not None:
        error = str(verdict["error"])
        return _TOO_MUCH if _NO_MEMORY in error else error
    if verdict["cpu"] > CPU_SECONDS:
        return f"it takes {verdict['cpu']:.1f} s to prepare, {CPU_SECONDS:g} s are allowed; simplify it"
    return None
