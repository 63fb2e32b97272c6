"""Measures the steps of a batch, and ends the request whose grammar is likely to slow them.

A step samples one token for every running answer and cannot be interrupted: a grammar that is slow
in it slows all answers. So after a step over its budget, one request ends at its next chunk: the
one whose grammar is most likely the cause. The others go on, and if that was not the cause, the
next such step ends another one. A step in which a prompt is read is not judged: it may well be
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

BUDGET_SECONDS = 1.0
STALLED_SECONDS = 10.0
USUAL = 10  # the budget of a step as a multiple of the usual one, if that is more: large models on CPUs are slow
_WEIGHT = 0.05  # the share of one step in the usual time


@dataclass(slots=True, eq=False)
class Sampling:
    """One choice, from its prompt to its end."""

    weight: int  # how likely its grammar is the slow one; 0 means that it has none
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
        self._usual = 0.0
        self._judged = 0.0  # the end of the last step because of which a request ends

    def begin(self, *, guided: bool, weight: int = 1) -> Sampling:
        """Begin a sampling whose prompt is about to be read.

        Of those with a grammar, the one with the largest `weight` is suspected first.
        """
        sampling = Sampling(weight if guided else 0)
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
        """Note what a sampling has sampled so far, and in what time.

        Raises InvalidRequestError if it has to end.
        """
        with self._lock:
            if sampling.reading:
                sampling.reading = False
                sampling.began = time.monotonic() - milliseconds / 1000
                self._prompts += 1
            elif tokens > sampling.tokens:
                seconds = (milliseconds - sampling.milliseconds) / 1000 / (tokens - sampling.tokens)
                self.observe(seconds)
                if sampling.prompts == self._prompts and not any(each.reading for each in self._running):
                    ended = sampling.began + milliseconds / 1000
                    self._judge(seconds, ended)
            sampling.tokens, sampling.milliseconds = tokens, milliseconds
            sampling.prompts, sampling.seen = self._prompts, time.monotonic()
        if sampling.refused is not None:
            raise InvalidRequestError(
                f"The answer was ended: a step took {sampling.refused:.1f} s and held up all other answers, most "
                "likely by its schema or tools. Simplify them."
            )

    def _judge(self, seconds: float, ended: float) -> None:
        """Judge a step.

        `ended` is the time of the step, not of its chunk: a slow reader makes the chunk late.
        """
        if seconds <= self._most(BUDGET_SECONDS):
            self._usual += _WEIGHT * (seconds - self._usual)
            return
        middle = ended - seconds / 2
        if middle <= self._judged:  # each answer in the batch reports the same step
            return
        suspects = [each for each in self._running if each.weight and each.refused is None and each.began <= middle]
        if suspects:
            self._judged = ended
            # Among equals the newest one ends: the others have been in steps that were not slow.
            max(reversed(suspects), key=lambda each: each.weight).refused = seconds

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
            waiting = time.monotonic() - min((each.seen for each in self._running), default=float("inf"))
            return waiting > self._most(STALLED_SECONDS)
