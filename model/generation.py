"""Runs requests: admission, pace, deadlines and cancels, which are the same for every engine."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from model.admission import Admission
from model.engines import prompt_bounds
from model.errors import (
    ContextLengthError,
    DeadlineError,
    EngineError,
    InvalidRequestError,
    ModelError,
    NotReadyError,
    OverloadedError,
    RequestCancelledError,
)
from model.events import Delta, Event, Start, Usage, merged
from model.metrics import Metrics, Observation
from model.output import log_usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from model.engines.base import Engine
    from model.schema import ChatRequest, TokensRequest
    from model.settings import Settings


STOPPING = "the container is shutting down"
_EXPECTED_MOST = 1000  # maximum number of cancels that wait for their requests
MAX_TOKENIZING = 16  # texts that are turned into tokens, or back, or wait for it


class Run:
    """One request in the task that serves it, until it ends or is stopped."""

    def __init__(self, task: asyncio.Task[object], observation: Observation) -> None:
        self.error: ModelError | None = None
        self.waiting = True
        self.observation = observation
        self._task: asyncio.Task[object] | None = task

    def stop(self, error: ModelError) -> None:
        """End the request with `error`.

        Only the first call counts, and only before the request has ended.
        """
        if self._task is not None and self.error is None:
            self.error = error
            self._task.cancel()

    def end(self) -> None:
        """Note the end of the request. The request's own task calls it."""
        self._task = None


class Generation:
    """Serves requests with one engine."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.metrics = Metrics(settings.models)
        self._admission = Admission(settings.parallel, settings.queue)
        self._rate = settings.tokens_per_second
        self._max_seconds = settings.max_seconds
        self._max_images = settings.max_images
        self._tokenizing = asyncio.Lock()
        self._to_tokenize = 0
        self._context_tokens = settings.context_tokens
        self._capacity = settings.parallel * settings.context_tokens
        self._runs: set[Run] = set()
        self._by_id: dict[str, Run] = {}
        self._expected: dict[str, list[asyncio.Future[None]]] = {}
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.metrics.waiting = lambda: self.waiting
        self.metrics.cache_usage = self._cache_usage
        if engine.steps is not None:
            engine.steps.observe = self.metrics.step

    @property
    def healthy(self) -> bool:
        """Whether requests can be served: the engine is up and the container is not stopping."""
        return self.engine.healthy and not self._draining

    @property
    def expected(self) -> set[str]:
        """The request ids of cancels that wait for their request."""
        return set(self._expected)

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return self._admission.waiting

    def _cache_usage(self) -> float:
        usage = self.engine.cache_usage
        return min(1.0, self.metrics.held_tokens / self._capacity) if usage is None else usage

    def not_ready(self) -> NotReadyError:
        """Return the error of requests that cannot be served now."""
        return NotReadyError(STOPPING if self._draining else "the engine is not up")

    async def cancel(self, request_id: str, patience: float = 0.0) -> bool:
        """Stop a running or waiting request; return false if there is none with this id here.

        A cancel may overtake its request, so one without a request waits for `patience` seconds.
        Meanwhile it counts as a request of this instance: SageMaker prefers the instance with the
        fewest requests, so the caller's next attempt goes to another one. Otherwise every attempt
        would come here, and none to the instance where the request runs.
        """
        run = self._by_id.get(request_id)
        if run is not None:
            run.stop(RequestCancelledError("the request was cancelled"))
            return True
        if self._draining or sum(map(len, self._expected.values())) >= _EXPECTED_MOST:
            return False
        came = asyncio.get_running_loop().create_future()
        self._expected.setdefault(request_id, []).append(came)
        try:
            await asyncio.wait([came], timeout=patience)
        finally:
            if not came.done():
                others = self._expected[request_id]
                others.remove(came)
                if not others:
                    del self._expected[request_id]
        return came.done()

    async def tokens(self, request: TokensRequest) -> dict[str, list[int] | str]:
        """Return `tokens` of a text, or `text` of tokens. One request after the other is served.

        Raises NotReadyError, ContextLengthError for a text that no prompt could hold,
        InvalidRequestError, and OverloadedError if `MAX_TOKENIZING` others have not ended.
        """
        if not self.healthy:
            raise self.not_ready()
        asked = request.sluice
        if asked.tokenize is not None:
            prompt_bounds.check_text(asked.tokenize, self._context_tokens)
        if self._to_tokenize >= MAX_TOKENIZING:
            raise OverloadedError(
                f"{MAX_TOKENIZING} texts are being turned into tokens, or back; try again shortly"
            )
        self._to_tokenize += 1
        try:
            async with self._tokenizing:
                if asked.tokenize is None:
                    return {"text": await self.engine.detokenize(asked.detokenize or [])}
                return {"tokens": await self.engine.tokenize(asked.tokenize, special=asked.special)}
        finally:
            self._to_tokenize -= 1

    async def drain(self, seconds: float) -> None:
        """Accept no new requests and fail the waiting ones.

        Return when the running ones have ended; after `seconds` they are stopped.
        """
        self._draining = True
        for run in self._runs:
            if run.waiting:
                run.stop(self.not_ready())
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            for run in self._runs:
                run.stop(self.not_ready())

    @contextlib.asynccontextmanager
    async def run(self, request: ChatRequest) -> AsyncGenerator[Run, None]:
        """Serve one request in the current task.

        Within the block, `Run.stop` interrupts any await, and its error is raised at the end. The
        request's deadline counts from the beginning of the block.

        Raises NotReadyError, InvalidRequestError for an id that is running and for images that
        the model cannot read, and the error of `Run.stop`.
        """
        if not self.healthy:
            raise self.not_ready()
        if (images := sum(message.images for message in request.messages)) > self._max_images:
            raise InvalidRequestError(
                f"messages: the request has {images} images; this model reads {self._max_images} "
                "(SLUICE_MAX_IMAGES)",
                "messages",
            )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        options = request.sluice
        if options.request_id in self._by_id:
            raise InvalidRequestError(
                "sluice.request_id: a request with this id is running", "sluice.request_id"
            )
        run = Run(task, self.metrics.observe(request.model))
        self._runs.add(run)
        self._idle.clear()
        if options.request_id is not None:
            self._by_id[options.request_id] = run
            if expected := self._expected.pop(options.request_id, []):
                for came in expected:
                    came.set_result(None)
                run.stop(RequestCancelledError("the request was cancelled before it arrived"))
        deadline = min(options.deadline_ms or math.inf, self._max_seconds * 1000)
        timer = asyncio.get_running_loop().call_later(
            deadline / 1000, run.stop, DeadlineError(f"the deadline of {deadline} ms has passed")
        )
        failure: ModelError | None = EngineError("the container failed")
        try:
            yield run
            failure = None
        except asyncio.CancelledError:
            failure = run.error or self.not_ready()
            # Only a cancellation by `Run.stop` becomes an error; others go on, as in
            # asyncio.timeout.
            if run.error is None or task.uncancel() > 0:
                raise
            raise run.error from None
        except ModelError as error:
            failure = error
            raise
        finally:
            run.end()
            run.observation.end(failure)
            log_usage(options.request_id, run.observation, failure)
            timer.cancel()
            if options.request_id is not None:
                del self._by_id[options.request_id]
            self._runs.discard(run)
            if not self._runs:
                self._idle.set()

    async def count(self, request: ChatRequest) -> int:
        """Return the tokens of a request's prompt. Its answer is given up before it begins.

        Raises as `run`, and the engine's errors.
        """
        async with self.run(request) as run:
            async with self._admission.places(request.n, request.sluice.caller):
                run.waiting = False
                async with contextlib.aclosing(self.engine.generate(request)) as sampled:
                    batch = await anext(sampled, None)
            if not batch:
                raise EngineError("the engine did not count the prompt")
            # An empty prompt is not read, so what is sampled comes first.
            return batch[0].prompt_tokens if isinstance(batch[0], Start) else 0

    async def batches(self, request: ChatRequest, run: Run) -> AsyncGenerator[list[Event], None]:
        """Yield the events of `request` after waiting for a place.

        Each batch has the events since the last one, merged. The code that opens this generator
        must close it. A slow reader slows the engine's reader down and gets larger batches.
        """
        observation = run.observation
        async with self._admission.places(request.n, request.sluice.caller):
            run.waiting = False
            observation.admitted()
            try:
                async with (
                    contextlib.aclosing(self.engine.generate(request)) as sampled,
                    contextlib.aclosing(
                        _paced(sampled, self._rate * request.n) if self._rate else sampled
                    ) as batches,
                ):
                    async for batch in batches:
                        first = batch[0]
                        if isinstance(first, Start):
                            _check_prompt(first, request)
                        observation.events(batch)
                        if observation.reasoning_tokens and isinstance(batch[-1], Usage):
                            batch = [*batch[:-1], _with_reasoning(batch[-1], observation)]
                        yield merged(batch) if len(batch) > 1 else batch
            except ContextLengthError as error:
                error.param = prompt_bounds.larger_part(request)
                raise
            finally:
                observation.released()


def _with_reasoning(usage: Usage, observation: Observation) -> Usage:
    reasoning = min(observation.reasoning_tokens, usage.completion_tokens)
    return Usage(usage.prompt_tokens, usage.completion_tokens, reasoning)


def _check_prompt(start: Start, request: ChatRequest) -> None:
    most = request.sluice.max_prompt_tokens
    if most is not None and start.prompt_tokens > most:
        raise ContextLengthError.of(
            start.prompt_tokens, most, "limit of this request (max_prompt_tokens)"
        )


async def _paced(
    batches: AsyncGenerator[list[Event], None], rate: float
) -> AsyncGenerator[list[Event], None]:
    """Yield at most `rate` tokens a second, the first one at once.

    Time that a stall has lost is not made up.
    """
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
