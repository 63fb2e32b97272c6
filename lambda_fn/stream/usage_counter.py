"""Counts the tokens and the time of a response while it is produced."""

import time
from collections.abc import Iterable
from math import frexp
from typing import TYPE_CHECKING, Literal

from lambda_fn.events import Delta, End, Ended, Event, Failure, Finish, Start, Usage

if TYPE_CHECKING:
    from lambda_fn.errors import APIError
    from lambda_fn.stream.traces import Trace


class UsageCounter:
    """The running count of one request. The model's own count, which comes at its end, replaces it.

    `started` is when the request began, by `time.monotonic`. The caller sets `cancelled` when it
    ends the response early. `count` sets `complete` when the model has ended it, and `ended` if
    this service has. `unbilled` is the number of sampled tokens that were over the reservation, and
    were not delivered. `reported` tells whether the count is the model's own. `failure` is the code
    with which the model broke the response off, and `error` is the class and the code of the error
    that ended it. `admission` is the time that admission took, and `flush_lag` the longest time
    that an event of a logged response waited for its log, in seconds. `pace` measures the response
    at its client's end; None measures nothing. `trace` is the request's trace, if there are any.
    The caller sets `refused` if the model was not asked. `continued_prompt_tokens` are of prompts
    that were read to continue the response. They are billed, and are not in `prompt_tokens`. The
    model tells how many tokens were cached and how many are reasoning, with its own count. The
    caller sets `image_tokens` to what images may have at most, because servers do not tell.
    """

    def __init__(self) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self._first_token: float | None = None
        self._finish_reason: str | None = None
        self.prompt_tokens = 0
        self.continued_prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.image_tokens = 0
        self.reasoning_tokens = 0
        self.cancelled = False
        self.refused = False
        self.complete = False
        self.ended: Ended | None = None
        self.unbilled = 0
        self.reported = False
        self.failure: str | None = None
        self.error: tuple[type[APIError], str | None] | None = None
        self.admission: float | None = None
        self.flush_lag: float | None = None
        self._invoked: float | None = None
        self._finished: float | None = None
        self.pace: Pace | None = None
        self.trace: Trace | None = None

    def admitted(self) -> None:
        """Note that the request was admitted now."""
        self.admission = time.monotonic() - self.started

    def invoked(self) -> None:
        """Note that the model is called now. The first call counts."""
        self._invoked = self._invoked or time.monotonic()

    def note(self, error: "APIError") -> None:
        """Note the error that ends the response; the first one counts.

        The error itself is not kept, because it refers to frames that refer to this.
        """
        self.error = self.error or (type(error), error.code)

    def count(self, events: Iterable[Event]) -> None:
        """Count events as they come from the decoder."""
        for event in events:
            if type(event) is Delta:
                self.completion_tokens += event.tokens
                if self._first_token is None:
                    self._first_token = time.monotonic()
            elif type(event) is Finish:
                self._finish_reason = self._finish_reason or event.finish_reason
                self._finished = time.monotonic()
                self.ended = self.ended or event.ended
            elif type(event) is Start:
                self.prompt_tokens = event.prompt_tokens
            elif type(event) is Usage:
                self.reported = True
                self.prompt_tokens, self.completion_tokens = (
                    event.prompt_tokens,
                    event.completion_tokens,
                )
                self.cached_tokens = event.cached_tokens
                self.reasoning_tokens = event.reasoning_tokens
            elif type(event) is End:
                self.complete = True
            elif type(event) is Failure:
                self.failure = event.code

    def block(self) -> None:
        """Note that a filter has ended the response, which is complete."""
        self._finish_reason, self.complete = "content_filter", True

    @property
    def billed(self) -> tuple[int, int]:
        """The tokens of all prompts and of the completion."""
        return self.prompt_tokens + self.continued_prompt_tokens, self.completion_tokens

    @property
    def outcome(self) -> Literal["complete", "cancelled", "cut", "failed", "refused"]:
        """The outcome if the response ends now: `cut` has tokens, `failed` has none."""
        if self.refused:
            return "refused"
        if self.complete:
            return "complete"
        if self.cancelled:
            return "cancelled"
        return "failed" if self._first_token is None else "cut"

    @property
    def finish_reason(self) -> str | None:
        """The first choice's finish reason, None unless the response is complete."""
        return self._finish_reason if self.complete else None

    @property
    def ttft_ms(self) -> int | None:
        """Milliseconds from the request to the first token, None without a token."""
        return (
            None if self._first_token is None else round((self._first_token - self.started) * 1000)
        )

    @property
    def attributes(self) -> str:
        """SageMaker's custom attributes of the request's calls, empty without a trace."""
        return "" if self.trace is None else self.trace.context.attributes

    @property
    def moments(self) -> dict[str, float]:
        """The moments of the response by their names, as times of `time.monotonic`.

        The last token of a response that did not finish is the last one that was written.
        """
        last = self._finished
        if last is None and self.pace is not None:
            last = self.pace.last
        found = {
            "admitted": None if self.admission is None else self.started + self.admission,
            "invoked": self._invoked,
            "first_token": self._first_token,
            "last_token": None if self._first_token is None else last,
        }
        return {name: at for name, at in found.items() if at is not None}

    @property
    def duration_ms(self) -> int:
        """Milliseconds since the request began."""
        return round((time.monotonic() - self.started) * 1000)


class Pace:
    """The times between the tokens of one response, as its client gets them.

    It reads no clock: the delivery has read it for its heartbeats. A write with k tokens after a
    time t counts as k times of t/k. Times are kept in a histogram, so a long response takes no more
    memory than a short one: between two powers of 2 there are 32 buckets, hence a figure is at most
    1/64 away from the truth. Choices that are sampled side by side are counted as one. Of a logged
    response, whose producer does not wait for its client, tokens that are read and not yet written
    count as written.
    """

    __slots__ = ("_began", "_buckets", "_counter", "_first", "_last", "_seen", "heartbeats")

    def __init__(self, counter: UsageCounter) -> None:
        """Measure the response of this counter."""
        self._counter = counter
        self._buckets: dict[int, int] = {}
        self._first = 0
        self._began = self._last = 0.0
        self._seen = 0
        self.heartbeats = 0
        """Heartbeats that were sent before the first token."""

    @property
    def last(self) -> float | None:
        """When tokens were last written, by `time.monotonic`. None: there were none."""
        return self._last if self._seen else None

    def beat(self) -> None:
        """Note that a heartbeat is sent."""
        if not self._counter.completion_tokens:
            self.heartbeats += 1

    def failed(self, error: "APIError") -> None:
        """Note the error with which the delivery ends the response."""
        self._counter.note(error)

    def wrote(self, now: float) -> None:
        """Note that everything counted so far was written at `now`, by `time.monotonic`."""
        tokens = self._counter.completion_tokens - self._seen
        if tokens <= 0:
            return
        if self._seen:
            mantissa, exponent = frexp((now - self._last) / tokens)
            bucket = (exponent << 6) + int(mantissa * 64)
            self._buckets[bucket] = self._buckets.get(bucket, 0) + tokens
        else:
            self._first, self._began = tokens, now
        self._seen += tokens
        self._last = now

    def figures(self) -> dict[str, float]:
        """Return the metrics of the response by their names. Times are seconds."""
        found: dict[str, float] = {"HeartbeatsBeforeFirstToken": self.heartbeats}
        later, seconds = self._seen - self._first, self._last - self._began
        if later > 0 and seconds > 0:
            found["TokensPerSecond"] = round(later / seconds, 2)
            found["gen_ai.server.time_per_output_token"] = round(seconds / later, 6)
            found["InterTokenP50"] = self._percentile(0.5, later)
            found["InterTokenP95"] = self._percentile(0.95, later)
        return found

    def _percentile(self, share: float, total: int) -> float:
        """Return the least time that this share of all times is at most."""
        passed, needed = 0, share * total
        value = 0.0
        for bucket in sorted(self._buckets):
            passed += self._buckets[bucket]
            value = ((bucket & 63) + 0.5) / 64 * 2.0 ** (bucket >> 6)
            if passed >= needed:
                break
        return round(value, 6)
