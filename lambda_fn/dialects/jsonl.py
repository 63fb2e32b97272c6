"""Stage 4: decodes the stream of our own container, which is one JSON object a line. Pure.

The events do not depend on how the bytes are split: a part that SageMaker sends may hold several
records, half a record or half a character.
"""

import msgspec

from lambda_fn import limits
from lambda_fn.dialects.lines import (
    MALFORMED_RECORD,
    NO_END,
    NO_FINISH,
    Choices,
    LineBuffer,
    is_one_line_of_text,
)
from lambda_fn.events import Delta, End, Ended, Event, Failure, Finish, Start, Usage

_BRACE = ord("{")
_LINE_END = ord("\n")
_record = msgspec.json.Decoder(Start | Delta | Finish | Usage | End | Failure)


class LineDecoder:
    """Decodes one response of our container."""

    def __init__(self, choices: int = 1) -> None:
        """Expect a response of `choices` choices, each of which must finish before the end."""
        self._choices = Choices(choices)
        self._lines = LineBuffer()
        self._ended = False
        self._said = False
        self.last_record = b""
        """The record that ended the response, empty before."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes. A blank line is a heartbeat and has no event.

        A malformed record becomes a `Failure`. After an `End` or a `Failure` nothing more is read.
        The container's failure at the deadline ends a response that says something like its limit.
        """
        if self._ended:
            return []
        size = len(data)
        if (
            0 < size <= limits.MAX_LINE
            and data.find(_LINE_END) == size - 1
            and not self._lines.rest
        ):
            # One whole line, as for nearly each token. What is no delta is read below.
            try:
                event = _record.decode(data)
                if (
                    type(event) is Delta
                    and event.index < self._choices.count
                    and bytes(event.delta)[0] == _BRACE
                    and is_one_line_of_text(data)
                ):
                    self._said = True
                    return [event]
            except (ValueError, RecursionError):
                pass
        lines = self._lines.feed(data)
        # All lines are checked at once. Only if this fails, each line is checked.
        checked = is_one_line_of_text(lines[0] if len(lines) == 1 else b"\n".join(lines))
        events: list[Event] = []
        for line in lines:
            if not line or line.isspace():
                continue
            try:
                if not checked and not is_one_line_of_text(line):
                    raise ValueError("not one line of text")
                event = _record.decode(line)
                kind = type(event)
                if kind is Delta:
                    self._said = True
                    if event.index >= self._choices.count:
                        raise ValueError("a choice that was not requested")
                    if bytes(event.delta)[0] != _BRACE:
                        raise ValueError("a delta that is not an object")
                elif kind is Finish:
                    self._choices.check(event.index)
                    self._choices.unfinished.discard(event.index)
                elif kind is End and self._choices.unfinished:
                    event = NO_FINISH
                elif kind is Failure and event.code == "deadline_exceeded" and self._said:
                    events += self.cut("deadline")
                    event = End()
            except (ValueError, RecursionError):
                event = MALFORMED_RECORD
            events.append(event)
            if type(event) is End or type(event) is Failure:
                self._ended = True
                self.last_record = bytes(line)
                return events
        if self._lines.too_long:
            events.append(MALFORMED_RECORD)
            self._ended = True
        return events

    def close(self) -> list[Event]:
        """Return a `Failure` if the response was truncated."""
        return [] if self._ended else [NO_END]

    def cut(self, ended: Ended) -> list[Event]:
        """Return the finishes of the choices that have none. See `Decoder.cut`."""
        unfinished, self._choices.unfinished = sorted(self._choices.unfinished), set()
        self._ended = True
        return [Finish("length", index, ended) for index in unfinished]
