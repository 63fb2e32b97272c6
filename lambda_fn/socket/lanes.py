"""The lanes of a connection: which responses run, and which wait. Pure, and can be stored.

A lane runs one response at a time, in the order in which their requests were sent. Different lanes
run at once, up to `MAX_RUNNING` responses of a connection. More wait, and the one that was sent
first begins when another ends.

A request has a name that its carrier chooses, unique in the connection. So the state holds no
bodies, and a request that arrives a second time changes nothing while the first one is there.
"""

import msgspec

from lambda_fn.errors import InvalidRequest, RateLimited

MAX_RUNNING = 16
"""Responses of a connection that run at once. OpenAI's limit."""
MAX_LANES = 32
"""Named lanes of a connection, from its beginning to its end. OpenAI's limit."""
MAX_WAITING = 64
"""Requests of a connection that wait. Each may be as large as a message."""
DEFAULT = ""
"""The name of the lane of requests that name none."""


class Waiting(msgspec.Struct):
    """A request that waits. `sent` is its time, which may be older than that of earlier ones."""

    name: str
    sent: float


class Running(msgspec.Struct):
    """A request whose response runs. Its id is None until it is known."""

    name: str
    response_id: str | None = None
    cancelled: bool = False


class Lane(msgspec.Struct):
    """One lane. What waits is in the order in which it was sent."""

    running: Running | None = None
    waiting: list[Waiting] = []  # msgspec makes a new list for each


class Lanes(msgspec.Struct):
    """All lanes of a connection that were named, by their names."""

    lanes: dict[str, Lane] = {}  # msgspec makes a new one for each

    @property
    def running(self) -> int:
        """The number of responses that run."""
        return sum(lane.running is not None for lane in self.lanes.values())

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return sum(len(lane.waiting) for lane in self.lanes.values())

    def add(self, stream_id: str | None, name: str, sent: float) -> list[str]:
        """Take a request, and return the names of those that begin now.

        Args:
            stream_id: The lane; None is the default lane.
            name: The name of the request. One that runs or waits already is not taken again.
            sent: The time at which the request was sent, in seconds.

        Raises:
            InvalidRequest: the connection has no further lane.
            RateLimited: too many requests wait.

        """
        key = stream_id or DEFAULT
        lane = self.lanes.get(key)
        if lane is None:
            if key != DEFAULT and len(self.lanes.keys() - {DEFAULT}) >= MAX_LANES:
                raise InvalidRequest(
                    f"This connection has reached its limit of {MAX_LANES} named lanes. Use one of "
                    "them again, or open another connection.",
                    param="stream_id",
                    code="websocket_stream_limit_reached",
                )
        elif self._has(lane, name):
            return []
        if self.waiting >= MAX_WAITING:
            raise too_many_waiting()
        if lane is None:
            lane = self.lanes[key] = Lane()
        place = len(lane.waiting)
        while place and lane.waiting[place - 1].sent > sent:
            place -= 1
        lane.waiting.insert(place, Waiting(name, sent))
        return self._begin()

    def _has(self, lane: Lane, name: str) -> bool:
        running = lane.running is not None and lane.running.name == name
        return running or any(waiting.name == name for waiting in lane.waiting)

    def begun(self, name: str, response_id: str) -> None:
        """Note the id of a response that runs."""
        for lane in self.lanes.values():
            if lane.running is not None and lane.running.name == name:
                lane.running.response_id = response_id

    def ended(self, name: str) -> list[str]:
        """Note that a response has ended, and return the names of those that begin now.

        A name that does not run changes nothing.
        """
        for lane in self.lanes.values():
            if lane.running is not None and lane.running.name == name:
                lane.running = None
                return self._begin()
        return []

    def cancel(self, stream_id: str | None) -> Running | Waiting | None:
        """Cancel what a lane runs, and return it. What waits behind it stays.

        If the lane runs nothing, its first request that waits is removed and returned. None means
        that the lane has neither. A response that was cancelled before is returned as
        `Running.cancelled` says, until it has ended.
        """
        lane = self.lanes.get(stream_id or DEFAULT)
        if lane is None:
            return None
        if lane.running is not None:
            return _cancelled(lane.running)
        return lane.waiting.pop(0) if lane.waiting else None

    def cancel_response(self, response_id: str) -> Running | None:
        """Cancel a running response by its id as `cancel` does, None if none has it."""
        for lane in self.lanes.values():
            if lane.running is not None and lane.running.response_id == response_id:
                return _cancelled(lane.running)
        return None

    def names_waiting(self) -> list[str]:
        """Return the names of all requests that wait."""
        return [waiting.name for lane in self.lanes.values() for waiting in lane.waiting]

    def drop_waiting(self) -> list[str]:
        """Remove all requests that wait, and return their names."""
        names = self.names_waiting()
        for lane in self.lanes.values():
            lane.waiting.clear()
        return names

    def _begin(self) -> list[str]:
        """Return the names of those that may begin, which run from now on."""
        names: list[str] = []
        free = MAX_RUNNING - self.running
        ready = sorted(
            (lane for lane in self.lanes.values() if lane.running is None and lane.waiting),
            key=lambda lane: lane.waiting[0].sent,
        )
        for lane in ready[:free]:
            first = lane.waiting.pop(0)
            lane.running = Running(first.name)
            names.append(first.name)
        return names


def too_many_waiting() -> RateLimited:
    """Return the error of a request that is over the limits of its connection."""
    return RateLimited(
        "Too many requests of this connection are running or waiting, or they are too large in "
        "total. Send the next one when a response has ended.",
        code="websocket_queue_limit_reached",
        retry_after=1,
    )


def _cancelled(running: Running) -> Running:
    """Return a response as it was, and note that it is cancelled."""
    before = Running(running.name, running.response_id, running.cancelled)
    running.cancelled = True
    return before
