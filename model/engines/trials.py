"""Grammars are tried in processes of their own before the engine gets them, so that a bad one costs one request.

Native code that makes a grammar or guides by it cannot be interrupted, and may take all memory. So each grammar is
first used for a few tokens in `model.engines.trial_child`, which has little memory and ends after some CPU time. There
are two lanes with a process each: what is not done in the first within `QUICK_SECONDS` begins anew in the second, so
that an ordinary request never stands behind a hostile one for longer than that. A third process is ready to take the
place of one that ended. Time is judged as the CPU time of the try: a busy machine is no fault of a schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
from collections import OrderedDict
from typing import Any

from model.engines.trial_process import Process, Spare, TooSlowError
from model.errors import EngineError, InvalidRequestError, OverloadedError, StartError

QUICK_SECONDS = 0.25  # of CPU, as `CPU_SECONDS`
CPU_SECONDS = 0.5  # of a grammar that is served: its making stops everybody's answers for about so long
WALL_SECONDS = 5.0  # for a try on a busy machine; over it, the request may be repeated
REMEMBERED_SECONDS = 60.0  # of wall time: a grammar that took too much is not tried again for so long
MAX_WAITING = 64  # tries before the first lane; more are a 429
_TOO_MUCH = f"it takes more than {CPU_SECONDS:g} s of CPU or too much memory to prepare; simplify it"
_NO_MEMORY = "bad_alloc"  # native code's word for it, where the child outlived it
_KEPT = 512  # verdicts by the digest of what was tried


class Lane:
    """Tries one after the other, within so much CPU time each; `most` may wait."""

    def __init__(self, seconds: float, most: int, spare: Spare) -> None:
        self.waiting = 0
        self.starts = 0
        self._seconds = seconds
        self._most = most
        self._spare = spare
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._next: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process that is there now."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> Process:
        """Have a process that is ready. Raises EngineError."""
        if self._process is None or not self._process.alive:
            await self.stop()
            self._process = await self._spare.take()
            self.starts += 1
        return self._process

    async def verdict(self, body: bytes) -> dict[str, Any]:
        """What the try came to. Raises TooSlowError, OverloadedError, NotReadyError, EngineError."""
        if self.waiting >= self._most:
            raise OverloadedError("too many schemas wait to be tried; try again shortly")
        self.waiting += 1
        try:
            async with self._turn:
                return await self._tried(body)
        finally:
            self.waiting -= 1

    async def _tried(self, body: bytes) -> dict[str, Any]:
        process = await self.start()
        done = False
        try:
            process.ask(body, self._seconds)
            verdict = await process.verdict(WALL_SECONDS)
            done = True
            return verdict
        finally:
            if not done:  # too slow, or the request was cancelled: its answer would be taken for the next one's
                await self.stop()
                self._next = asyncio.create_task(self._started_again())

    async def _started_again(self) -> None:
        """Have the next process before somebody waits for it."""
        async with self._turn:
            with contextlib.suppress(EngineError):  # told to the next who asks
                await self.start()

    async def stop(self) -> None:
        """End its process."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    async def close(self) -> None:
        """End for good, after the spare; who still waits for a verdict gets EngineError."""
        await self.stop()
        if self._next is not None:
            await self._next


class Trials:
    """Tries what is new for requests that hold `places` of the engine, and remembers the last verdicts."""

    def __init__(self, places: int = MAX_WAITING) -> None:
        self._spare = Spare()
        # What was too slow once may hold half of the places at most: the others are for what is ordinary.
        second = max(1, min(places, MAX_WAITING) // 2)
        self.lanes = (Lane(QUICK_SECONDS, MAX_WAITING, self._spare), Lane(CPU_SECONDS, second, self._spare))
        self._known: OrderedDict[bytes, tuple[str | None, float]] = OrderedDict()  # and until when

    async def start(self) -> None:
        """Start the processes, so that the first request need not wait for them. Raises StartError."""
        try:
            for lane in self.lanes:
                await lane.start()
        except EngineError as error:
            raise StartError(error.message) from None

    async def check(self, guiding: dict[str, Any], param: str) -> None:
        """Raise InvalidRequestError where llama.cpp cannot guide by these fields of a body, or not soon enough."""
        body = json.dumps(guiding).encode()
        digest = hashlib.sha256(body).digest()
        clock = asyncio.get_running_loop().time
        why, until = self._known.get(digest, (None, 0.0))
        if until <= clock():
            try:
                why, until = _refusal(await self._tried(body)), math.inf
            except TooSlowError:
                why, until = _TOO_MUCH, clock() + REMEMBERED_SECONDS
            self._known[digest] = why, until
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
        await asyncio.gather(self._spare.close(), *(lane.close() for lane in self.lanes))


def _refusal(verdict: dict[str, Any]) -> str | None:
    error: str | None = verdict["error"]
    return _TOO_MUCH if error is not None and _NO_MEMORY in error else error
