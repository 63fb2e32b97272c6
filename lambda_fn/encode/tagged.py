"""Names the lane of each event, for connections that carry several responses at once.

An encoded stream becomes the events in it: a socket sends each one as a message of its own, and an
answer to several requests interleaves them. Heartbeats and `[DONE]` are no events: the connection
has its own.
"""

import re
from typing import NamedTuple

from msgspec.json import encode

STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
"""The name of a lane, by OpenAI's schema."""
_DONE = b"[DONE]"


class Tagged(NamedTuple):
    """One event: the line with its name, which may be empty, and its object as JSON."""

    line: bytes
    data: bytes


class Tagger:
    """Takes one response as server-sent events, and returns them with the member `stream_id`."""

    def __init__(self, stream_id: str | None) -> None:
        """Begin a response. Without `stream_id` its events stay as they are."""
        self._tag = b"}" if stream_id is None else b',"stream_id":%b}' % encode(stream_id)
        self._rest = b""

    def feed(self, data: bytes) -> list[Tagged]:
        """Return the events that are complete with these bytes, which may end anywhere."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        tagged = []
        for block in blocks:
            line, found, payload = block.partition(b"data: ")
            if found and payload != _DONE:
                tagged.append(Tagged(line, payload[:-1] + self._tag))
        return tagged
