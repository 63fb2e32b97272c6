"""Stage 4: bytes -> events, pure. The dialect of our own container: one JSON object and a line feed a record.

How the bytes are cut never changes the result: SageMaker's parts may hold several records, half a record or half a
character.
"""

from typing import Protocol

import msgspec

from lambda_fn import limits
from lambda_fn.events import Delta, End, Event, Failure, Finish, Start, Usage

_BRACE = ord("{")
_record = msgspec.json.Decoder(Start | Delta | Finish | Usage | End | Failure)


class Decoder(Protocol):
    """Bytes of one answer -> events. No method raises; after an `End` or a `Failure` nothing more is read."""

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, give the events that they complete."""
        ...

    def close(self) -> list[Event]:
        """Say that no byte will come."""
        ...


class LineDecoder:
    """Collects bytes and gives the events that are whole."""

    def __init__(self, choices: int = 1) -> None:
        """Begin at the start of an answer of so many choices; each must finish before the end."""
        self._choices = choices
        self._unfinished = set(range(choices))
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, give the events that they complete. A blank line is a heartbeat and gives none.

        A record that is malformed or longer than `MAX_LINE` gives a `Failure`. After an `End` or a `Failure` nothing
        more is read.
        """
        if self._ended:
            return []
        *lines, self._rest = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        events: list[Event] = []
        for line in lines:
            if not line.strip():
                continue
            try:
                if len(line) > limits.MAX_LINE:
                    raise ValueError("too long")
                line.decode()  # what an encoder passes on unread must be text all the same,
                if b"\r" in line:  # without the line end that JSON allows and an event stream takes for its own
                    raise ValueError("carriage return")
                event = _record.decode(line)
                if type(event) is Delta and memoryview(event.delta)[0] != _BRACE:
                    raise ValueError("a delta is an object")
                if isinstance(event, Delta | Finish) and event.index >= self._choices:
                    raise ValueError("a choice that nobody asked for")
                if type(event) is Finish:
                    self._unfinished.discard(event.index)
            except (ValueError, RecursionError):
                event = Failure(code="garbled", message="a record makes no sense")
            if type(event) is End and self._unfinished:
                event = Failure(code="cut", message="a choice has no end")
            events.append(event)
            if isinstance(event, End | Failure):
                self._ended = True
                return events
        if len(self._rest) > limits.MAX_LINE:
            self._ended = True
            events.append(Failure(code="garbled", message="a record has no end"))
        return events

    def close(self) -> list[Event]:
        """Say that no byte will come. An answer without an end was cut off, and gives a `Failure`."""
        return [] if self._ended else [Failure(code="cut", message="the answer has no end")]
