"""The streams of other servers -> events, pure: server-sent events and JSON lines.

`records` reads what they carry.

A response is complete when every choice has finished and the server has ended it: with `[DONE]`
if the server is known to send it, else with the end of the body. How the bytes are cut never
changes the result.
"""

import msgspec

from lambda_fn.dialects.failures import failure_of
from lambda_fn.dialects.lines import MALFORMED, NO_END, NO_FINISH, LineBuffer, is_one_line_of_text
from lambda_fn.dialects.records import Records
from lambda_fn.events import End, Event, Failure

_DONE = b"[DONE]"
_FIELDS = (b"event", b"id", b"retry")


class _Probe(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    object: str | None = None


_probe = msgspec.json.Decoder(_Probe)


class StreamDecoder:
    """Decodes one response of another server.

    Never raises; after an `End` or a `Failure` it reads nothing more.
    """

    def __init__(self, choices: int = 1, *, done: bool) -> None:
        """Expect a response of `choices` choices.

        `done`: without `[DONE]` at its end the response was cut.
        """
        self._records = Records(choices)
        self._done = done
        self._lines = LineBuffer()
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes. Blank lines and comments have none."""
        events: list[Event] = []
        if self._ended:
            return events
        for line in self._lines.feed(data):
            self._line(line, events)
            if events and isinstance(events[-1], End | Failure):
                return events
        if self._lines.too_long:
            self._end(events, MALFORMED)
        return events

    def close(self) -> list[Event]:
        """Return the events that end the response now that its bytes have ended."""
        events: list[Event] = []
        if self._ended:
            return events
        # a last line may lack its line end, if it is whole
        self._line(bytes(self._lines.rest), events)
        if events and events[-1] is MALFORMED:
            events[-1] = Failure(code="cut", message="a record has no end")
        if not self._ended:
            self._finish(events, has_done=False)
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
                self._end(events, MALFORMED)
                return
            if payload == _DONE:
                self._finish(events, has_done=True)
                return
            if not payload:
                return
        self._record(payload, events)

    def _record(self, payload: bytes, events: list[Event]) -> None:
        try:
            if not is_one_line_of_text(payload):
                raise ValueError("not one line of text")
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
            self._end(events, MALFORMED)

    def _finish(self, events: list[Event], *, has_done: bool) -> None:
        """End the response where the server ended it; `has_done` tells whether `[DONE]` came."""
        if not self._records.finished:
            self._end(events, NO_FINISH)
        elif self._done and not has_done:
            self._end(events, NO_END)
        else:
            events.append(self._records.usage)
            self._end(events, End())

    def _end(self, events: list[Event], last: Event) -> None:
        events.append(last)
        self._ended = True
