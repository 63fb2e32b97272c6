"""Measures the steps of a batch, and ends requests whose grammar is likely to slow them.

A step samples one token for every running answer and cannot be interrupted, so one slow grammar
slows all answers. When one step exceeds its budget, or many steps are slow by less, the requests of
one grammar end at their next chunk. This is the grammar that was present in most of the slow steps;
among several, the one whose steps were slowest in its trial. The other requests go on. If steps are
still slow, the requests of another grammar end. A step in which a prompt is read is not judged,
because it takes as long as its prompt is.
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

BUDGET_SECONDS = 1.0  # of one step, and of the time over `SLOW_SECONDS` in several steps together
SLOW_SECONDS = 0.05
STALLED_SECONDS = 10.0
# Each of these limits is at least this multiple of a usual step, because large models on CPUs are
# slow.
USUAL = 10
_WEIGHT = 0.05  # the weight of a new step in the moving average of usual steps


_MOST = 0.9  # a request is suspected if it has this share of the worst request's slow time


class SlowStepsError(InvalidRequestError):
    """The request's grammar held up all other answers."""


@dataclass(slots=True, eq=False)
class Sampling:
    """One choice, from its prompt to its end."""

    grammar: bytes | None  # the digest of its grammar
    step: float  # seconds of a step in the grammar's trial
    slow: float = 0.0  # seconds over the limit in the slow steps that it was in
    reading: bool = True  # its prompt is being read
    began: float = 0.0  # when sampling began, by the monotonic clock
    tokens: int = 0  # sampled until its last chunk
    milliseconds: float = 0.0  # of sampling until its last chunk
    prompts: int = 0  # how many prompts had begun or ended at its last chunk
    seen: float = 0.0  # the time of that chunk; infinite while its reader holds it back
    refused: float | None = None  # seconds over the limit, if it has to end because of them


class Steps:
    """The measurement. The threads of all requests use it.

    `observe` gets the seconds of each step as each answer saw it.
    """

    def __init__(self) -> None:
        self.observe: Callable[[float], None] = lambda seconds: None
        self._lock = threading.Lock()
        self._running: dict[Sampling, None] = {}  # the newest sampling is the last
        self._prompts = 0
        self._usual = 0.0  # seconds of a usual step, which has no grammar
        self._measured = False
        self._slow = 0.0  # seconds of recent steps over the limit, less those under it
        self._last = 0.0  # when the last judged step ended
        self._judged = 0.0  # when the last step ended because of which requests had to end

    def measured(self, seconds: float) -> None:
        """Set the seconds of a step while nothing else runs.

        From then on, only steps without a grammar count as usual.
        """
        self._usual, self._measured = seconds, True

    def begin(self, grammar: bytes | None = None, step: float = 0.0) -> Sampling:
        """Return the sampling of a choice whose prompt is about to be read.

        `grammar` is the digest of its grammar, `step` the seconds of a step in the grammar's trial.
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
        """Note a chunk: the tokens sampled so far, and the milliseconds of sampling.

        Raises SlowStepsError if the request has to end.
        """
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
        """Judge a step of `seconds` that ended at `ended`, by the monotonic clock.

        That is the end of the step and not the arrival of its chunk, which a slow reader delays.
        """
        middle = ended - seconds / 2
        if middle <= max(self._last, self._judged):  # each answer reports the same step
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
        # Among equals the newest is chosen: the others have been in steps that were not slow.
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
        """Do not count the time within the block as waiting for a step.

        There, a slow reader may delay chunks, so their absence says nothing about steps.
        """
        sampling.seen = float("inf")
        try:
            yield
        finally:
            sampling.seen = time.monotonic()

    def answered(self) -> None:
        """Note that the engine has just answered between two steps.

        An answer may go on without chunks: llama.cpp holds white space in a tool's arguments back.
        """
        with self._lock:
            now = time.monotonic()
            for each in self._running:
                each.seen = max(each.seen, now)

    @property
    def stalled(self) -> bool:
        """Whether a step takes longer than any should, so that the engine may never continue."""
        with self._lock:
            if any(each.reading for each in self._running):
                return False
            waiting = time.monotonic() - min(
                (each.seen for each in self._running), default=float("inf")
            )
            return waiting > self._most(STALLED_SECONDS)
