"""The metrics of `/metrics`, as Prometheus text.

A metric has OpenTelemetry's name for generative AI, in Prometheus's spelling, if there is one;
other names begin with `sluice_`. The engine's own metrics follow under their own names (`vllm:...`,
`llamacpp:...`), for comparison.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from model.events import Delta, Finish, Start, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from model.errors import ModelError
    from model.events import Event

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# The buckets that OpenTelemetry recommends.
_DURATION = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
    163.84,
    327.68,
)
_FIRST = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
_PER_TOKEN = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
)
_STEP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TOKENS = tuple(float(4**power) for power in range(11))
_LABELS = ("gen_ai_operation_name", "gen_ai_request_model")


class Metrics:
    """The metrics of one container."""

    def __init__(self, models: tuple[str, ...]) -> None:
        self._registry = CollectorRegistry()
        self._models = models
        self.waiting: Callable[[], int] = int
        self.cache_usage: Callable[[], float | None] = lambda: None
        self.running: set[Observation] = set()
        self.first = self._histogram(
            "gen_ai_server_time_to_first_token_seconds", "From request to first token", _FIRST
        )
        self.per_token = self._histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean of a whole answer after its first token",
            _PER_TOKEN,
        )
        self.duration = self._histogram(
            "gen_ai_server_request_duration_seconds",
            "From request to end",
            _DURATION,
            ("error_type",),
        )
        self.tokens = self._histogram(
            "gen_ai_client_token_usage", "Tokens of a request", _TOKENS, ("gen_ai_token_type",)
        )
        self.gap = self._histogram(
            "sluice_inter_token_latency_seconds", "Between tokens of one answer", _PER_TOKEN
        )
        self._step = self._histogram(
            "sluice_step_seconds", "Steps of a batch, as each answer saw them", _STEP
        )
        self.queued = self._histogram(
            "sluice_queue_time_seconds", "From request to its turn", _FIRST
        )
        self.ended = Counter(
            "sluice_requests",
            "Ended requests, by how",
            (*_LABELS, "outcome"),
            registry=self._registry,
        )
        self._gauge(
            "sluice_requests_running",
            "Requests that the engine works on",
            lambda: len(self.running),
        )
        self._gauge("sluice_requests_waiting", "Requests in the queue", lambda: self.waiting())
        self._gauge(
            "sluice_cache_usage_ratio",
            "Share of the engine's cache in use",
            lambda: self.cache_usage() or 0.0,
        )

    def _histogram(
        self, name: str, says: str, buckets: tuple[float, ...], more: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(name, says, (*_LABELS, *more), buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, says: str, value: Callable[[], float]) -> None:
        Gauge(name, says, registry=self._registry).set_function(value)

    def observe(self, model: str | None) -> Observation:
        """Return the observation of a request that begins now.

        An unknown model name counts as the model's own, so that only the settings make labels.
        """
        return Observation(self, model if model in self._models else self._models[0])

    def step(self, seconds: float) -> None:
        """Record the seconds of a step, as one answer saw it. Any thread may call this."""
        self._step.labels("chat", self._models[0]).observe(seconds)

    @property
    def held_tokens(self) -> int:
        """The number of tokens in the prompts and answers in progress."""
        return sum(each.prompt_tokens + each.completion_tokens for each in self.running)

    def text(self) -> bytes:
        """Return all metrics as of now."""
        return generate_latest(self._registry)


class Observation:
    """The measurements of one request."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self._metrics = metrics
        self._labels = ("chat", model)
        self._began = time.perf_counter()
        self._first: float | None = None
        self._last = 0.0
        # Every token needs it, so it is looked up once.
        self._gap = metrics.gap.labels(*self._labels)
        self._reason = "stop"

    def admitted(self) -> None:
        """Note that the request's turn has come."""
        self._metrics.running.add(self)
        self._metrics.queued.labels(*self._labels).observe(time.perf_counter() - self._began)

    def events(self, events: Iterable[Event]) -> None:
        """Note the next events of the engine."""
        for event in events:
            if isinstance(event, Delta):
                self.completion_tokens += event.tokens
                if event.reasoning:
                    size = len(event.reasoning) + len(event.content)
                    self.reasoning_tokens += event.tokens * len(event.reasoning) // size
                now = time.perf_counter()
                if self._first is None:
                    self._first = now
                    self._metrics.first.labels(*self._labels).observe(now - self._began)
                else:
                    self._gap.observe(now - self._last)
                self._last = now
            elif isinstance(event, Start):
                self.prompt_tokens = event.prompt_tokens
            elif isinstance(event, Finish):
                self._reason = event.reason
            elif isinstance(event, Usage):
                self.completion_tokens = event.completion_tokens

    def released(self) -> None:
        """Note that the engine has been told to release the request."""
        self._metrics.running.discard(self)

    def end(self, error: ModelError | None) -> None:
        """Record the end of the request; `error` is the reason if it failed."""
        metrics, now = self._metrics, time.perf_counter()
        code = "" if error is None else error.code
        outcome = (
            self._reason
            if error is None
            else code
            if code in ("cancelled", "deadline_exceeded")
            else _kind(error)
        )
        metrics.ended.labels(*self._labels, outcome).inc()
        metrics.duration.labels(*self._labels, code).observe(now - self._began)
        if self.prompt_tokens:
            metrics.tokens.labels(*self._labels, "input").observe(self.prompt_tokens)
        if self._first is not None:
            metrics.tokens.labels(*self._labels, "output").observe(self.completion_tokens)
            if self.completion_tokens > 1:
                metrics.per_token.labels(*self._labels).observe(
                    (now - self._first) / (self.completion_tokens - 1)
                )


def _kind(error: ModelError) -> str:
    return "failed" if error.status >= 500 else "refused"
