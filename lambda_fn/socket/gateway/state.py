"""The state of a socket on API Gateway, and its changes. Pure; it is stored between messages.

Messages are invocations of their own, so they may come in another order than they were sent. API
Gateway notes when it received each one. The creates of a lane that have come run in the order of
these times. A cancel that finds nothing is kept for `EARLY` seconds, for a create that was sent
before it.

The name of a request is the id of the response that it makes, unless a fallback of the model
answers.
"""

from collections.abc import Sequence

import msgspec

from lambda_fn.errors import Cancelled
from lambda_fn.socket.core import Rate
from lambda_fn.socket.lanes import MAX_LANES, Lanes, Running, Waiting
from lambda_fn.socket.messages import Cancel

EARLY = 2.0
"""Seconds for which a cancel that finds nothing waits for a create that was sent before it."""
_RECENT = 8
"""How many names of ended responses are remembered."""
_PAST = 2 * MAX_LANES
"""How many names of cancels are remembered that were brought to their end."""


class Early(msgspec.Struct):
    """A cancel that found nothing. `name` is that of its message; times are in Unix seconds."""

    name: str
    stream_id: str | None
    response_id: str | None
    sent: float
    came: float


class Run(msgspec.Struct):
    """A response that runs. `began` is in Unix seconds.

    With `stays`, it goes on when its client has left. `response` is its id, if a fallback of the
    model answers: the name is that of the response which the first model would have made. `by` is
    the invocation that answers it, empty until there is one. `cancel` is the name of the message
    that cancelled it, and `stopped` the time at which its function began to do that.
    """

    began: float
    stays: bool = False
    response: str | None = None
    by: str = ""
    cancel: str = ""
    stopped: float = 0.0


class State(msgspec.Struct):
    """The state of one socket."""

    rate: Rate
    lanes: Lanes = msgspec.field(default_factory=Lanes)
    runs: dict[str, Run] = {}  # msgspec makes new ones for each
    early: list[Early] = []
    latest: dict[str, str] = {}
    """The last response of each lane. Requests may go on from it, even if it is not stored."""
    gone: bool = False
    flooded: bool = False
    """Whether its client sent so many messages that the socket is closed."""
    recent: list[str] = []
    """The names of the responses that have ended last."""
    dropped: dict[str, Waiting] = {}
    """The requests that waited and were cancelled last, by the names of the cancels."""
    past: list[str] = []
    """The names of the cancels that were brought to their end last. Lambda may bring them again."""

    def create(
        self,
        name: str,
        stream_id: str | None,
        *,
        sent: float,
        now: float,
        stays: bool,
        by: str = "",
    ) -> list[str]:
        """Take a request, and return the names of those that begin now, in the invocation `by`.

        Raises:
            InvalidRequest, RateLimited: as `Lanes.add`.
            Cancelled: a cancel that was sent after it has come before it.

        """
        if name in self.recent or any(one.name == name for one in self.dropped.values()):
            return []  # it was decided before, and is over
        self._forget_early(now)
        for early in self.early:
            is_later = early.response_id is None and early.sent >= sent
            if is_later and early.stream_id == stream_id:
                self.early.remove(early)
                self._pass(early.name)
                raise Cancelled("The request was cancelled before its response began.")
        started = self.lanes.add(stream_id, name, sent)
        if self.has(name) and stays and name not in self.runs:
            self.runs[name] = Run(0.0, stays)
        return self._begun(started, now, by)

    def has(self, name: str) -> bool:
        """Return whether a request runs or waits."""
        return any(
            (lane.running is not None and lane.running.name == name)
            or any(waiting.name == name for waiting in lane.waiting)
            for lane in self.lanes.lanes.values()
        )

    def _begun(self, names: list[str], now: float, by: str) -> list[str]:
        for name in names:
            stays = name in self.runs and self.runs[name].stays
            self.runs[name] = Run(now, stays, by=by)
            self.lanes.begun(name, f"resp_{name}")
        return names

    def take(self, names: Sequence[str], by: str) -> list[str]:
        """Note that an invocation answers requests. Return those that no other one answers."""
        taken = [name for name in names if name in self.runs and not self.runs[name].by]
        for name in taken:
            self.runs[name].by = by
        return taken

    def answered_by(self, by: str) -> list[str]:
        """Return the names of the requests that an invocation answers."""
        return [name for name, run in self.runs.items() if run.began and run.by == by]

    def renamed(self, name: str, response: str) -> bool:
        """Note that a fallback answers a request. Return whether the request was cancelled."""
        if name in self.runs:
            self.runs[name].response = response
            self.lanes.begun(name, f"resp_{response}")
        return self.cancelled(name)

    def response_of(self, name: str) -> str:
        """Return the id of the response to a request."""
        run = self.runs.get(name)
        return name if run is None or run.response is None else run.response

    def ended(
        self,
        name: str,
        now: float,
        *,
        completed: bool = False,
        parent: str | None = None,
        by: str = "",
    ) -> list[str]:
        """Note that a response has ended, and return the names of those that begin now.

        The invocation `by` answers them.

        If the response was not `completed`, the connection forgets the response that it continued,
        as with OpenAI.
        """
        for key, lane in self.lanes.lanes.items():
            if lane.running is not None and lane.running.name == name and completed:
                self.latest[key] = self.response_of(name)
        if not completed and parent is not None:
            self.latest = {key: one for key, one in self.latest.items() if one != parent}
        run = self.runs.pop(name, None)
        if run is not None:
            self.recent = [*self.recent, name][-_RECENT:]
            self._pass(run.cancel)
        return self._begun(self.lanes.ended(name), now, by)

    def cancel(
        self, message: Cancel, name: str, *, sent: float, now: float
    ) -> Running | Waiting | Early | None:
        """Cancel what a message names, and return it as `Lanes.cancel` does.

        A cancel that finds nothing waits, by the name of its message. None means that the function
        of this message sees to all that wait. `Early` means that another function does already: a
        socket that sends many keeps one function busy, and not all.

        A response that was cancelled and still runs some time later is found again: the function
        that was to stop it may have failed, and told its client to try again.
        """
        self._forget_early(now)
        self.early = [early for early in self.early if early.name != name]
        oldest = min((early.came for early in self.early), default=0.0)
        is_seen_to = now - oldest < 1.5 * EARLY  # else the function that did was killed
        found = self._found_before(name)
        if found is not None:
            return found
        if message.response_id is not None:
            found = self.lanes.cancel_response(message.response_id)
        else:
            found = self.lanes.cancel(message.stream_id)
        if isinstance(found, Waiting):
            self.runs.pop(found.name, None)
            kept = list(self.dropped.items())[1 - _RECENT :]
            self.dropped = {**dict(kept), name: found}
        elif found is not None:
            run = self.runs.get(found.name)
            if found.cancelled and (run is None or now - run.stopped < 1.5 * EARLY):
                self._pass(name)
            elif run is not None:
                self._pass(run.cancel)
                run.cancel, run.stopped = name, now
                return Running(found.name, found.response_id)
        if found is None:
            early = Early(name, message.stream_id, message.response_id, sent, now)
            self.early.append(early)
            return early if is_seen_to else None
        return found

    def _found_before(self, name: str) -> Running | Waiting | None:
        """Return what a cancel has found when it was decided before.

        One that was brought to its end has found something that is cancelled.
        """
        if name in self.past:
            return Running(name, cancelled=True)
        for lane in self.lanes.lanes.values():
            running = lane.running
            if running is not None and running.cancelled and running.name in self.runs:
                run = self.runs[running.name]
                if run.cancel == name:
                    return Running(running.name, running.response_id)
        return self.dropped.get(name)

    def drop(self, name: str, now: float, *, by: str) -> list[str]:
        """Remove a request that the invocation `by` has refused after all.

        Return the names of those that begin now. The invocation `by` answers them.
        """
        for lane in self.lanes.lanes.values():
            lane.waiting = [waiting for waiting in lane.waiting if waiting.name != name]
        run = self.runs.get(name)
        if run is not None and run.by in ("", by):
            return self.ended(name, now, by=by)
        return []

    def found_nothing(self, since: float) -> tuple[list[Early], float | None]:
        """Take back the cancels that came at this time or before: no create came for them.

        Return them, and when the next one came of those that still wait.
        """
        over = [early for early in self.early if early.came <= since]
        self.early = [early for early in self.early if early.came > since]
        self._pass(*(early.name for early in over))
        return over, min((early.came for early in self.early), default=None)

    def _pass(self, *cancels: str) -> None:
        """Note that cancels were brought to their end."""
        self.past = [*self.past, *filter(None, cancels)][-_PAST:]

    def lane_of(self, name: str) -> str | None:
        """Return the `stream_id` of the lane that runs a response; None is the default lane."""
        for key, lane in self.lanes.lanes.items():
            if lane.running is not None and lane.running.name == name:
                return key or None
        return None

    def flood(self) -> None:
        """Note that the socket is closed because of its many messages."""
        self.flooded = True

    def leave(self) -> tuple[list[str], list[str]]:
        """Note that the client has left.

        Return the names of running responses that end with it, and of the requests that waited.
        """
        self.gone = True
        self.early.clear()
        waited = self.lanes.drop_waiting()
        for name in waited:
            self.runs.pop(name, None)
        return [name for name, run in self.runs.items() if not run.stays], waited

    def cancelled(self, name: str) -> bool:
        """Return whether a response that runs was cancelled."""
        return any(
            lane.running is not None and lane.running.name == name and lane.running.cancelled
            for lane in self.lanes.lanes.values()
        )

    def _forget_early(self, now: float) -> None:
        # The function that sees to such cancels has taken them back, unless it was killed.
        self.early = [early for early in self.early if now - early.came <= 2 * EARLY]
