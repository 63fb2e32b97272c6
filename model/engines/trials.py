"""Tries grammars in separate processes first, so that a bad grammar costs one request only.

Native code that makes a grammar or guides by it cannot be interrupted, and may take all memory. So
each grammar is first used for a few tokens in `model.engines.trial_child`, which has little memory
and ends after some CPU time. There are two lanes with one process each. A trial that is not done in
the first lane within `QUICK_SECONDS` begins again in the second, so an ordinary request never waits
longer than that for a hostile one. A third process is ready to replace one that ended. Trials are
judged by their CPU time, because a busy machine is not the schema's fault.

Callers take turns: one grammar of each caller is tried at a time. After a grammar that took too
long, the caller's new ones are rejected for `PAUSE_SECONDS`. The cost of a trial is remembered, and
each use of the grammar counts against its caller (`model.engines.turns`). So a flood of slow
schemas delays few callers but its sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.engines.trial_process import Process, Spare, TooSlowError
from model.engines.turns import Turns
from model.errors import EngineError, InvalidRequestError, OverloadedError, StartError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

QUICK_SECONDS = 0.25  # CPU time of a trial in the first lane
# CPU time of a trial in the second lane, the maximum for a grammar that is served: to compile it
# stops all answers for about as long.
CPU_SECONDS = 0.5
WALL_SECONDS = 5.0  # wall time of a trial on a busy machine; after it, the request may be repeated
PAUSE_SECONDS = 5.0  # wall time that a caller of a slow grammar waits before the next new one
REMEMBERED_SECONDS = 60.0  # wall time for which a grammar that took too much is not tried again
MAX_WAITING = 64  # trials that wait for the first lane; more are a 429
_TOO_MUCH = (
    f"it takes more than {CPU_SECONDS:g} s of CPU or too much memory to prepare; simplify it"
)
_NO_MEMORY = "bad_alloc"  # native code's message, if the child survived
_KEPT = 512  # maximum of verdicts, and of callers that pause


@dataclass(frozen=True, slots=True)
class Tried:
    """The verdict on a grammar, and its cost.

    `why` says why it is refused; None means that it may be used. The verdict holds `until` a time
    of the event loop.
    """

    digest: bytes
    why: str | None
    until: float
    seconds: float = 0.0  # of CPU, to prepare it for one choice
    step: float = 0.0  # of CPU, for one step


class Lane:
    """Runs trials one after the other, each with at most `seconds` of CPU time.

    At most `most` trials run or wait.
    """

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
        """The id of the present process."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> Process:
        """Start a process and wait until it is ready.

        Raises EngineError.
        """
        if self._process is None or not self._process.alive:
            await self.stop()
            self._process = await self._spare.take()
            self.starts += 1
        return self._process

    async def verdict(self, body: bytes) -> dict[str, Any]:
        """Return the verdict on a trial.

        Raises TooSlowError, OverloadedError, NotReadyError or EngineError.
        """
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
            # The trial was too slow, or its request was cancelled. The process has to end, because
            # its late verdict would be taken for that of the next trial.
            if not done:
                await self.stop()
                self._next = asyncio.create_task(self._started_again())

    async def _started_again(self) -> None:
        """Replace the process before the next trial waits for it."""
        async with self._turn:
            with contextlib.suppress(EngineError):  # the next trial gets the error
                await self.start()

    async def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    async def close(self) -> None:
        """End for good. Close the spare first: then trials that wait get EngineError."""
        await self.stop()
        if self._next is not None:
            await self._next


class Trials:
    """Tries new grammars, and remembers the last verdicts.

    `places` is how many requests the engine serves at once.
    """

    def __init__(self, places: int = MAX_WAITING) -> None:
        self._spare = Spare()
        # At most half of the places may hold grammars that were too slow for the first lane. The
        # others are for ordinary requests.
        second = max(1, min(places, MAX_WAITING) // 2)
        self.lanes = (
            Lane(QUICK_SECONDS, MAX_WAITING, self._spare),
            Lane(CPU_SECONDS, second, self._spare),
        )
        self._known: OrderedDict[bytes, Tried] = OrderedDict()
        self._turns: dict[str, asyncio.Lock] = {}
        self._preparations = Turns()
        self._open: Counter[str] = Counter()  # tries that run or wait, by caller
        self._paused: OrderedDict[str, float] = OrderedDict()  # the end of the pause, by caller

    async def start(self) -> None:
        """Start the processes, so that the first request need not wait for them.

        Raises StartError.
        """
        try:
            for lane in self.lanes:
                await lane.start()
        except EngineError as error:
            raise StartError(error.message) from None

    def check_turn(self, caller: str) -> None:
        """Raise OverloadedError if the caller's grammars took too much of the engine's time."""
        self._preparations.check(caller)

    async def check(
        self, guiding: dict[str, Any], param: str, caller: str = "", choices: int = 1
    ) -> Tried:
        """Wait for the caller's turn; return the verdict on a grammar that may be used.

        `guiding` has the fields of a body from which llama.cpp makes the grammar. A new grammar is
        tried. Errors name the request's field `param`.

        Raises:
            InvalidRequestError: the grammar cannot be used, or takes too much time or memory.
            OverloadedError: too many trials wait, or the caller's schemas took too long recently.
            NotReadyError: the machine is too busy.

        """
        body = json.dumps(guiding).encode()
        digest = hashlib.sha256(body).digest()
        if not self._is_known(digest):
            async with self._turn(caller):
                # The caller's request before this one may have had the same schema.
                if not self._is_known(digest):
                    await self._learn(digest, body, caller)
        tried = self._known[digest]
        if tried.why is not None:
            raise InvalidRequestError(
                f"{param}: the schema cannot be used here: {tried.why}", param
            )
        if choices > 1 and tried.seconds * choices > CPU_SECONDS:
            raise InvalidRequestError(
                f"n: the schema takes {tried.seconds:.2f} s of CPU to prepare for each "
                "choice, at most "
                f"{CPU_SECONDS:g} s in all are allowed; ask for fewer choices, or simplify it",
                "n",
            )
        await self._preparations.take(caller, tried.seconds, choices)
        return tried

    def refuse(self, tried: Tried, caller: str) -> None:
        """Refuse a grammar that slowed the engine, and pause its caller, as after a slow trial."""
        self._too_slow(tried.digest, caller, "its steps take too long; simplify it")

    def _too_slow(self, digest: bytes, caller: str, why: str) -> None:
        self._known[digest] = Tried(digest, why, _now() + REMEMBERED_SECONDS)
        self._paused[caller] = _now() + PAUSE_SECONDS
        self._paused.move_to_end(caller)

    def _is_known(self, digest: bytes) -> bool:
        return digest in self._known and self._known[digest].until > _now()

    @contextlib.asynccontextmanager
    async def _turn(self, caller: str) -> AsyncGenerator[None, None]:
        """Wait for the caller's earlier trials; hold its turn within the block."""
        self._open[caller] += 1
        try:
            async with self._turns.setdefault(caller, asyncio.Lock()):
                yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller], self._turns[caller]

    async def _learn(self, digest: bytes, body: bytes, caller: str) -> None:
        """Try a grammar and remember the verdict."""
        if self._paused.get(caller, 0.0) > _now():
            raise OverloadedError(
                "the last new schema took too long to prepare; try this one again in a few seconds"
            )
        try:
            found = await self._tried(body)
            self._known[digest] = Tried(
                digest, _refusal(found), math.inf, found["seconds"], found["step"]
            )
        except TooSlowError:
            self._too_slow(digest, caller, _TOO_MUCH)
        for memory in (self._known, self._paused):
            while len(memory) > _KEPT:
                memory.popitem(last=False)

    async def _tried(self, body: bytes) -> dict[str, Any]:
        quick, patient = self.lanes
        try:
            return await quick.verdict(body)
        except TooSlowError:
            return await patient.verdict(body)

    async def close(self) -> None:
        """Stop the processes."""
        await asyncio.gather(self._spare.close(), *(lane.close() for lane in self.lanes))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _refusal(verdict: dict[str, Any]) -> str | None:
    error: str | None = verdict["error"]
    return _TOO_MUCH if error is not None and _NO_MEMORY in error else error
