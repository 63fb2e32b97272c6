"""The open connections of all APIs, which `@connections` and the data plane share."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from local.apigateway import frames
from local.apigateway.events import Peer
from local.faults.plan import Strike
from local.limits import Limits, value

log = logging.getLogger("local.apigateway")

# A client that does not read has this many bytes buffered, in bytes. Posts are then refused with
# 429: botocore's model of LimitExceededException has it, "the WebSocket client side buffer is
# full". The size is our choice; AWS documents none.
_BUFFER = 1024 * 1024


@dataclass
class Connection:
    """One connection.

    `transport` is its TCP connection. `ended` is set once, when the connection is lost or closed,
    with the code and the reason; `gone` when the client has answered a close frame, or has
    left. `doomed` is a fault that loses it at a post. Times are
    those of the registry's clock.
    """

    peer: Peer
    transport: asyncio.Transport
    opened: float
    active: float
    ended: "asyncio.Future[tuple[int, str]]"
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    doomed: Strike | None = None
    posts: int = 0
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether the client has not taken what was sent to it."""
        return self.transport.get_write_buffer_size() > _BUFFER

    def send(self, data: bytes) -> None:
        """Send a text message."""
        self.transport.write(frames.message(data))

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and end the connection. The client answers with its own."""
        if not self.ended.done():
            self.transport.write(frames.close(code, reason))
            self.ended.set_result((code, reason))

    def end(self, code: int, reason: str = "") -> None:
        """Note that the client has left, or has sent a close frame."""
        if not self.ended.done():
            self.ended.set_result((code, reason))
        self.gone.set()

    def lose(self) -> None:
        """Cut the TCP connection, as a network would."""
        if not self.ended.done():
            self.ended.set_result((1006, "Connection closed abnormally"))
        self.gone.set()
        self.transport.abort()


class Connections:
    """The connections by id. `clock` returns seconds, by which idle and total time count."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Begin without connections."""
        self._limits = limits
        self._clock = clock
        self._open: dict[str, Connection] = {}

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Add a connection, which leaves when it ends."""
        key = connection.peer.connection_id
        self._open[key] = connection
        connection.ended.add_done_callback(lambda _ended: self._open.pop(key, None))

    def of(self, api: str, stage: str, key: str) -> Connection | None:
        """Return an open connection of a stage, or None."""
        found = self._open.get(key)
        if found is None or found.ended.done():
            return None
        return found if (found.peer.api_id, found.peer.stage) == (api, stage) else None

    def expire(self) -> None:
        """Close the connections that were idle, or open, for too long."""
        now = self._clock()
        idle = self._limits.seconds("apigateway_idle")
        total = self._limits.seconds("apigateway_connection")
        for connection in list(self._open.values()):
            if now - connection.active >= idle or now - connection.opened >= total:
                connection.close(1001, "Going away")

    def close_all(self, api: str | None = None) -> None:
        """Close the connections of an API, or all: the API was deleted, or the cloud stops."""
        for connection in list(self._open.values()):
            if api in {None, connection.peer.api_id}:
                connection.close(1001, "Going away")


def too_long(data: bytes) -> bool:
    """Return whether a post is larger than a message may be."""
    return len(data) > value("apigateway_message")
