"""Measures the steps of a batch, and ends the request whose grammar is likely to slow them.

A step samples one token for every running answer, and cannot be interrupted: a grammar that is slow
in it slows all. So for a step over its budget, and for many that are slow by less, the requests of
one grammar end at their next chunk: the one that was there in most of the slow steps, and of
several the one with the slowest steps in its try. The others go on, and where that was not it, the
next such steps end another one. A step in which a prompt is read is not judged: it may well be
long.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUDGET_SECONDS = 1.0  # of one step, and of what is over `SLOW_SECONDS` in several
SLOW_SECONDS = 0.05
STALLED_SECONDS = 10.0
# the budget of a step as a multiple of the usual one, if that is more: large models on CPUs are
# slow
USUAL = 10
_WEIGHT = 0.05  # the share of one step in the usual time


_MOST = 0.9  # of the time in slow steps of the request that was there in most of them


class SlowStepsError(InvalidRequestError):
    """The request's grammar held up all other answers."""


@dataclass(slots=True, eq=False)
class Sampling:
    """One choice, from its prompt to its end."""

    grammar: bytes | None  # its digest
    step: float  # seconds of one in the grammar's try
    slow: float = 0.0  # seconds in slow steps, over what is usual, since there are any
    reading: bool = True
    began: float = 0.0  # when its first token was sampled, minus the milliseconds until then
    tokens: int = 0
    milliseconds: float = 0.0
    prompts: int = 0  # how many prompts had begun or ended at its last chunk
    seen: float = 0.0  # the time of that chunk; infinite while its reader holds it back
    refused: float | None = None  # the seconds of the step because of which it has to end


class Steps:
    """The measurement, used from the threads of all requests.

    `observe` gets the seconds of each step as each answer saw it.
    """

    def __init__(self) -> None:
        self.observe: Callable[[float], None] = lambda seconds: None
        self._lock = threading.Lock()
        self._running: dict[Sampling, None] = {}  # the newest sampling is the last
        self._prompts = 0
        self._usual = 0.0  # of steps without a grammar
        self._measured = False
        self._slow = 0.0  # seconds over what is usual, less those under it
        self._last = 0.0  # when the last step ended that was judged
        self._judged = 0.0  # when the last step ended for which a request ends

    def measured(self, seconds: float) -> None:
        """What a step takes where nothing else runs: from now on only steps without a grammar are
        usual.
        """
        self._usual, self._measured = seconds, True

    def begin(self, grammar: bytes | None = None, step: float = 0.0) -> Sampling:
        """A prompt is to be read. Its `grammar` is the digest of it, whose `step` took so many
        seconds in its try.
        """
        sampling = Sampling(grammar, step)
        with self._lock:
            self._running[sampling] = None
            self._prompts += 1
        return sampling

    def end(self, sampling: Sampling) -> None:
        """Note that a sampling has left the batch."""
        with self._lock:
            self._running.pop(sampling, None)
            self._prompts += sampling.reading

    def chunk(self, sampling: Sampling, tokens: int, milliseconds: float) -> None:
        """What was sampled so far, and for how long. Raise SlowStepsError where it has to end."""
        with self._lock:
            if sampling.reading:
                sampling.reading = False
                sampling.began = time.monotonic() - milliseconds / 1000
                self._prompts += 1
            elif tokens > sampling.tokens:
                seconds = (milliseconds - sampling.milliseconds) / 1000 / (tokens - sampling.tokens)
                self.observe(seconds)
                if sampling.prompts == self._prompts and not any(
                    each.reading for each in self._running
                ):
                    ended = sampling.began + milliseconds / 1000
                    self._judge(seconds, ended)
            sampling.tokens, sampling.milliseconds = tokens, milliseconds
            sampling.prompts, sampling.seen = self._prompts, time.monotonic()
        if sampling.refused is not None:
            raise SlowStepsError(
                f"The answer was ended: its steps took {sampling.refused:.1f} s longer than "
                "usual and held up all "
                "other answers, most likely by its schema or tools. Simplify them."
            )

    def _judge(self, seconds: float, ended: float) -> None:
        """`ended` is the time of the step, not of its chunk: a chunk is late where its reader is
        slow.
        """
        middle = ended - seconds / 2
        if middle <= max(self._last, self._judged):  # each answer in it reports the same step
            return
        self._last = ended
        within = seconds <= self._most(BUDGET_SECONDS)
        over = seconds - self._most(SLOW_SECONDS)
        guided = [each for each in self._running if each.grammar is not None]
        if within and not (guided and self._measured):
            self._usual += _WEIGHT * (seconds - self._usual)
        suspects = [each for each in guided if each.refused is None and each.began <= middle]
        if over <= 0 or suspects:
            self._slow = max(0.0, self._slow + over)
        if not self._slow:
            self._forget()
        elif over > 0 and suspects:
            for each in suspects:
                each.slow += over
            if self._slow > BUDGET_SECONDS or not within:
                self._judged = ended
                self._end_likeliest(suspects)

    def _end_likeliest(self, suspects: list[Sampling]) -> None:
        most = _MOST * max(each.slow for each in suspects)
        # Among equals the newest: the others have been in steps that were not slow.
        likeliest = max(
            (each for each in reversed(suspects) if each.slow >= most), key=lambda each: each.step
        )
        for each in suspects:
            if each.grammar == likeliest.grammar:
                each.refused = likeliest.slow
        self._forget()

    def _forget(self) -> None:
        self._slow = 0.0
        for each in self._running:
            each.slow = 0.0

    def _most(self, seconds: float) -> float:
        return max(seconds, USUAL * self._usual)

    @contextlib.contextmanager
    def held(self, sampling: Sampling) -> Iterator[None]:
        """Note, within the block, that a slow reader may delay chunks: their absence says nothing
        about steps.
        """
        sampling.seen = float("inf")
        try:
            yield
        finally:
            sampling.seen = time.monotonic()

    @property
    def stalled(self) -> bool:
        """Return whether a step takes so long that the engine may never continue."""
        with self._lock:
            if any(each.reading for each in self._running):
                return False
            waiting = time.monotonic() - min(
                (each.seen for each in self._running), default=float("inf")
            )
            return waiting > self._most(STALLED_SECONDS)
