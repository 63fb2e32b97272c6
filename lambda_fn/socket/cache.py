"""What a connection remembers: the conversation up to the last response of each lane.

So a request can go on from a response that is not kept anywhere else. Another lane may go on from
it, too. When the connection ends, this is gone.
"""

import msgspec

from lambda_fn.schema.responses import History
from lambda_fn.socket.lanes import DEFAULT

MAX_BYTES = 4_000_000
"""Bytes of all conversations of a connection. A longer one is not remembered."""


class _Entry(msgspec.Struct, frozen=True):
    response_id: str
    history: History


class Cache:
    """The conversations of one connection, at most one for each lane."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Begin with none. The oldest ones are forgotten above `max_bytes`."""
        self._max_bytes = max_bytes
        self._entries: dict[str, _Entry] = {}

    def put(self, stream_id: str | None, response_id: str, history: History) -> None:
        """Remember the conversation that ends in a lane's response, in place of the one before."""
        lane = stream_id or DEFAULT
        self._entries.pop(lane, None)
        self._entries[lane] = _Entry(response_id, history)
        size = sum(entry.history.size for entry in self._entries.values())
        while size > self._max_bytes:
            oldest = next(iter(self._entries))
            size -= self._entries.pop(oldest).history.size

    def get(self, response_id: str) -> History | None:
        """Return the conversation up to a response, None if it is not remembered."""
        for entry in self._entries.values():
            if entry.response_id == response_id:
                return entry.history
        return None

    def evict(self, response_id: str) -> None:
        """Forget a response."""
        self._entries = {
            lane: entry for lane, entry in self._entries.items() if entry.response_id != response_id
        }
