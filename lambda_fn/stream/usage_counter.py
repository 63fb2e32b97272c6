"""Counts the tokens and the time of a response while it is produced."""

import time
from collections.abc import Iterable
from typing import Literal

from lambda_fn.events import Delta, End, Ended, Event, Finish, Start, Usage


class UsageCounter:
    """The running count of one request. The model's own count, which comes at its end, replaces it.

    The caller sets `cancelled` when it ends the response early. `count` sets `complete` when the
    model has ended it, and `ended` if this service has. `unbilled` is the number of sampled tokens
    that were over the reservation, and were not delivered. `reported` tells whether the count is
    the model's own.
    """

    def __init__(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._first_token: float | None = None
        self._finish_reason: str | None = None
        self.prompt_tokens = 0
        self.continued_prompt_tokens = 0
        self.completion_tokens = 0
        self.cancelled = False
        self.refused = False
        self.complete = False
        self.ended: Ended | None = None
        self.unbilled = 0
        self.reported = False

    def count(self, events: Iterable[Event]) -> None:
        """Count events as they come from the decoder."""
        for event in events:
            if type(event) is Delta:
                self.completion_tokens += event.tokens
                if self._first_token is None:
                    self._first_token = time.monotonic()
            elif type(event) is Finish:
                self._finish_reason = self._finish_reason or event.finish_reason
                self.ended = self.ended or event.ended
            elif type(event) is Start:
                self.prompt_tokens = event.prompt_tokens
            elif type(event) is Usage:
                self.reported = True
                self.prompt_tokens, self.completion_tokens = (
                    event.prompt_tokens,
                    event.completion_tokens,
                )
            elif type(event) is End:
                self.complete = True

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
            None if self._first_token is None else round((self._first_token - self._started) * 1000)
        )

    @property
    def duration_ms(self) -> int:
        """Milliseconds since the request began."""
        return round((time.monotonic() - self._started) * 1000)
