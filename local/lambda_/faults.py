"""Faults of functions: the process is killed at a chosen point of its response, or an error hidden.

The points are those of the Runtime API: `/response` has begun, a number of its bytes has come, or
it is complete and `/next` has not been called.
"""

import asyncio
import logging
from collections.abc import Callable

from local.faults.plan import Plan, Strike
from local.lambda_.prelude import Head
from local.lambda_.response import FunctionError, Response

log = logging.getLogger("local.faults")


def response(plan: Plan, function: str) -> Response:
    """Return the response of an invocation; it is doomed if a fault strikes it."""
    strike = plan.strike("function", function)
    if strike is None:
        return Response()
    return HiddenError(strike) if strike.kind == "function-error-hidden" else DoomedResponse(strike)


class HiddenError(Response):
    """A response whose connection ends cleanly if the function fails after it has begun.

    The one public report of a function URL whose function sent error trailers says so.
    """

    def __init__(self, strike: Strike) -> None:
        """Nothing has come yet."""
        super().__init__()
        self._strike = strike

    def fail(self, error: FunctionError) -> None:
        """End the response: with an error before it has begun, and cleanly after that."""
        if self.started and not self.over:
            self._strike.landed()
            self.finish()
        else:
            super().fail(error)


class DoomedResponse(Response):
    """A response whose function is killed on the way. Bytes that come later are dropped."""

    def __init__(self, strike: Strike) -> None:
        """Nothing has come yet."""
        super().__init__()
        self._strike = strike
        self._left = strike.after
        self._kill: Callable[[], None] | None = None
        self._dead = False

    def taken(self, kill: Callable[[], None]) -> None:
        """Note that an environment has taken the invocation. `kill` ends its process."""
        self._kill = kill
        if self._strike.kind == "function-killed-at-start":
            asyncio.get_running_loop().call_later(self._strike.fault.seconds, self._end)

    def begin(self, head: Head) -> None:
        """Receive status and headers."""
        if self._strike.kind == "function-killed-at-response":
            self._end()
        if not self._dead:
            super().begin(head)

    def feed(self, data: bytes, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Receive a part of the body."""
        if self._dead:
            return
        if self._strike.kind != "function-killed-in-response":
            super().feed(data, pause, resume)
            return
        super().feed(data[: self._left], pause, resume)
        if len(data) >= self._left:
            self._end()
        self._left -= len(data)

    def finish(self) -> None:
        """Receive the end of the response."""
        if self._dead:
            # The function had sent the end before it was killed, so the end of its process no
            # longer fails this invocation.
            super().fail(FunctionError("Runtime.ExitError", "killed by a fault on demand"))
            return
        super().finish()
        if self._strike.kind == "function-killed-at-settlement":
            self._end(over=True)

    def _end(self, *, over: bool = False) -> None:
        if self._kill is None or self._dead or self.over != over:
            return
        log.info("%s strikes", self._strike.fault)
        self._dead = True
        self._strike.landed()
        self._kill()
