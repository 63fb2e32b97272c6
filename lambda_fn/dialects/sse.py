"""Other servers' streams -> events, pure: server-sent events and JSON lines, whose records are `records`'.

Strict about truncation: an answer is whole when every choice has finished and the server has said its end, which is
`[DONE]` where the server is known to send it, else the end of the body. How the bytes are cut never changes the result.
"""

import msgspec

from lambda_fn import limits
from lambda_fn.dialects.failures import failure_of
from lambda_fn.dialects.records import Records
from lambda_fn.events import GARBLED, End, Event, Failure

_DONE = b"[DONE]"
_FIELDS = (b"event", b"id", b"retry")
_GARBLED = Failure(code=GARBLED, message="a record makes no sense")


class _Probe(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    object: str | None = None


_probe = msgspec.json.Decoder(_Probe)


class StreamDecoder:
    """Collects bytes and gives the events that are whole. Never raises; after an `End` or a `Failure` it reads nothing
    more.
    """

    def __init__(self, choices: int = 1, *, done: bool) -> None:
        """Begin an answer of so many choices. `done`: the server says `[DONE]`, and without it the answer was cut."""
        self._records = Records(choices)
        self._done = done
        self._rest = bytearray()
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, give the events that they complete. Blank lines and comments give none."""
        if self._ended:
            return []
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join((self._rest, lines[0]))
            self._rest = bytearray()
        self._rest += rest
        events: list[Event] = []
        for line in lines:
            self._line(line, events)
            if events and isinstance(events[-1], End | Failure):
                return events
        if len(self._rest) > limits.MAX_LINE:
            self._end(events, Failure(code=GARBLED, message="a record has no end"))
        return events

    def close(self) -> list[Event]:
        """Say that no byte will come."""
        if self._ended:
            return []
        events: list[Event] = []
        self._line(bytes(self._rest), events)  # a last line may lack its line end, if it is whole
        if events and events[-1] is _GARBLED:
            events[-1] = Failure(code="cut", message="a record has no end")
        if not self._ended:
            self._over(events, said=False)
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        line = line.strip()
        if not line or line.startswith(b":"):
            return
        payload = line
        if not line.startswith(b"{"):
            name, _, payload = line.partition(b":")
            if name in _FIELDS:
                return
            payload = payload.strip()
            if name != b"data":
                self._end(events, _GARBLED)
                return
            if payload == _DONE:
                self._over(events, said=True)
                return
            if not payload:
                return
        self._record(payload, events)

    def _record(self, payload: bytes, events: list[Event]) -> None:
        try:
            if len(payload) > limits.MAX_LINE or b"\r" in payload:
                raise ValueError("too long, or not one line")
            payload.decode()  # parts are passed on unread, and must be text all the same
            probe = _probe.decode(payload)
            if bytes(probe.error) != b"null" or probe.object == "error":
                self._end(events, failure_of(payload))
                return
            for event in self._records.read(payload):
                events.append(event)
                if type(event) is Failure:
                    self._ended = True
                    return
        except (ValueError, RecursionError):
            self._end(events, _GARBLED)

    def _over(self, events: list[Event], *, said: bool) -> None:
        if not self._records.finished:
            self._end(events, Failure(code="cut", message="a choice has no end"))
        elif self._done and not said:
            self._end(events, Failure(code="cut", message="the answer has no end"))
        else:
            events.append(self._records.usage)
            self._end(events, End())

    def _end(self, events: list[Event], last: Event) -> None:
        events.append(last)
        self._ended = True
