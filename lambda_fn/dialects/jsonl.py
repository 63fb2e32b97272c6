"""Stage 4: bytes -> events, pure. The dialect of our own container: one JSON object and a line feed a record.

How the bytes are cut never changes the result: SageMaker's parts may hold several records, half a record or half a
character.
"""

from typing import Protocol

import msgspec

from lambda_fn import limits
from lambda_fn.events import GARBLED, Delta, End, Event, Failure, Finish, Start, Usage

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
        self._rest = bytearray()
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, give the events that they complete. A blank line is a heartbeat and gives none.

        A record that is malformed or longer than `MAX_LINE` gives a `Failure`. After an `End` or a `Failure` nothing
        more is read.
        """
        if self._ended:
            return []
        if b"\n" not in data:
            return self._hold(data)
        if self._rest:
            data = b"".join((self._rest, data))
        lines = data.split(b"\n")
        rest = lines.pop()
        self._rest = bytearray()
        checked = _passable(data[: len(data) - len(rest)])
        events: list[Event] = []
        for line in lines:
            if not line or line.isspace():
                continue
            try:
                if not checked and not _passable(line):
                    raise ValueError("not one line of text")
                event = _record.decode(line)
                kind = type(event)
                if kind is Delta:
                    if event.index >= self._choices or bytes(event.delta)[0] != _BRACE:
                        raise ValueError("a choice that nobody asked for, or a delta that is no object")
                elif kind is Finish:
                    if event.index >= self._choices:
                        raise ValueError("a choice that nobody asked for")
                    self._unfinished.discard(event.index)
                elif kind is End and self._unfinished:
                    event = Failure(code="cut", message="a choice has no end")
            except (ValueError, RecursionError):
                event = Failure(code=GARBLED, message="a record makes no sense")
            events.append(event)
            if type(event) is End or type(event) is Failure:
                self._ended = True
                return events
        if rest:
            events += self._hold(rest)
        return events

    def _hold(self, data: bytes) -> list[Event]:
        """Keep a part of a record, which is looked at again only when the record is whole."""
        self._rest += data
        if len(self._rest) <= limits.MAX_LINE:
            return []
        self._ended = True
        return [Failure(code=GARBLED, message="a record has no end")]

    def close(self) -> list[Event]:
        """Say that no byte will come. An answer without an end was cut off, and gives a `Failure`."""
        return [] if self._ended else [Failure(code="cut", message="the answer has no end")]


def _passable(data: bytes) -> bool:
    """Whether an encoder may pass on parts unread: they are text, of no more than a line's size, and have no carriage
    return, which JSON allows and an event stream takes for a line's end.
    """
    if len(data) > limits.MAX_LINE or b"\r" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
