"""Running requests: who is running, for how long, at what pace. Everything that every engine would do the same way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from model.admission import Admission
from model.errors import (
    ContextLengthError,
    DeadlineError,
    InvalidRequestError,
    ModelError,
    NotReadyError,
    RequestCancelledError,
)
from model.events import Delta, Event, Start, merged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from model.engines.base import Engine
    from model.schema import ChatRequest


class Run:
    """One request in the task that serves it, until it has ended or somebody stopped it."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.error: ModelError | None = None
        self._task: asyncio.Task[object] | None = task

    def stop(self, error: ModelError) -> None:
        """End the request with `error`; the first one counts, and after the end there is nothing to stop."""
        if self._task is not None and self.error is None:
            self.error = error
            self._task.cancel()

    def end(self) -> None:
        """Called by the task itself."""
        self._task = None


class Generation:
    """Requests to events over one engine."""

    def __init__(self, engine: Engine, *, parallel: int, queue: int, tokens_per_second: float = 0.0) -> None:
        self.engine = engine
        self._admission = Admission(parallel, queue)
        self._rate = tokens_per_second
        self._runs: dict[str, Run] = {}

    @property
    def healthy(self) -> bool:
        """Whether new requests have a chance."""
        return self.engine.healthy

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._admission.waiting

    def cancel(self, request_id: str) -> bool:
        """Stop a running or waiting request; false if there is none with this id."""
        run = self._runs.get(request_id)
        if run is None:
            return False
        run.stop(RequestCancelledError("the request was cancelled"))
        return True

    @contextlib.asynccontextmanager
    async def run(self, request: ChatRequest) -> AsyncGenerator[Run, None]:
        """Serve one request in the current task: within, `Run.stop` interrupts any await; after, its error is raised.

        Its deadline counts from here.
        """
        if not self.healthy:
            raise NotReadyError("the engine is not up")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        options = request.sluice
        if options.request_id in self._runs:
            raise InvalidRequestError("sluice.request_id: a request with this id is running", "sluice.request_id")
        run = Run(task)
        timer = None
        if options.request_id is not None:
            self._runs[options.request_id] = run
        if options.deadline_ms is not None:
            error = DeadlineError(f"the deadline of {options.deadline_ms} ms has passed")
            timer = asyncio.get_running_loop().call_later(options.deadline_ms / 1000, run.stop, error)
        try:
            yield run
        except asyncio.CancelledError:
            # As asyncio.timeout does: only a cancellation of our own becomes an error.
            if run.error is None or task.uncancel() > 0:
                raise
            raise run.error from None
        finally:
            run.end()
            if timer is not None:
                timer.cancel()
            if options.request_id is not None:
                del self._runs[options.request_id]

    async def batches(self, request: ChatRequest) -> AsyncGenerator[list[Event], None]:
        """The events of `request`, waiting for a place first: each step has what came since the last one, merged.

        To be closed by who opens it. Reading slowly slows the engine's reader, and makes larger batches.
        """
        async with (
            self._admission.places(request.n),
            contextlib.aclosing(self.engine.generate(request)) as sampled,
            contextlib.aclosing(_paced(sampled, self._rate * request.n) if self._rate else sampled) as batches,
        ):
            async for batch in batches:
                first = batch[0]
                if isinstance(first, Start):
                    _check_prompt(first, request)
                yield merged(batch) if len(batch) > 1 else batch


def _check_prompt(start: Start, request: ChatRequest) -> None:
    most = request.sluice.max_prompt_tokens
    if most is not None and start.prompt_tokens > most:
        raise ContextLengthError.of(start.prompt_tokens, most, "limit of this request (max_prompt_tokens)")


async def _paced(batches: AsyncGenerator[list[Event], None], rate: float) -> AsyncGenerator[list[Event], None]:
    """Let `rate` tokens a second through, the first at once; time lost to a stall is not made up for."""
    clock = asyncio.get_running_loop().time
    due = 0.0
    async for batch in batches:
        for event in batch:
            if isinstance(event, Delta):
                now = clock()
                if due > now:
                    await asyncio.sleep(due - now)
                due = max(due, now) + event.tokens / rate
            yield [event]
