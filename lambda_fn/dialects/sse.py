"""Decodes the streams of other servers: server-sent events and JSON lines. Pure.

Events are read as the standard says: lines end with LF, CR or CRLF, a byte-order mark before them
is dropped, the `data` lines of an event are one text, and comments and unknown fields have no
effect. An event of another type than `message` is ignored if it is not a record. Three things are
read that the standard drops, so that no part of an answer and no error is lost: a last event
without its blank line, a line of JSON outside of any field, and llama.cpp's field `error`.

A line that begins a JSON text begins JSON lines, as LMI sends them, or a whole response over
several lines. `records` reads the records. A response is complete when every choice has finished
and the server has ended the stream: with `[DONE]` if the server is known to send it, else with the
end of the body. The events do not depend on how the bytes are split.
"""

import re

import msgspec

from lambda_fn import limits
from lambda_fn.dialects.lines import MALFORMED_RECORD, NO_END, LineBuffer
from lambda_fn.dialects.records import ANSWERS, UNLIKELY, NoRecord, Records, read_failure
from lambda_fn.events import Ended, Event, Failure

_DONE = (b"[DONE]", b'"[DONE]"')
_MARK = b"\xef\xbb\xbf"
_RETURN, _LINE_FEED = b"\r\n"
_NOTHING = (b"null", b"[]", b'""')
_ALIVE = [{"type": word} for word in ("ping", "heartbeat", "keepalive", "keep-alive", "keep_alive")]
_CUT = Failure(code="cut", message="a record has no end")


class StreamDecoder:
    """Decodes one response of another server.

    Never raises; after an `End` or a `Failure` it reads nothing more.
    """

    def __init__(self, choices: int = 1, *, done: bool, limit: int | None = None) -> None:
        """Expect a response of `choices` choices.

        With `done`, events without `[DONE]` at their end count as truncated. `limit` is as in
        `Records`: the response ends once all its choices have reached it.
        """
        self._records = Records(choices, limit)
        self._done = done
        self._lines = LineBuffer()
        self._ended = False
        self._start = b""
        self._at_start = True
        self._after_return = False
        self._data: list[bytes] = []
        """The data lines of an event that is not complete, or all lines of a whole response."""
        self._size = 0
        self._type = b""
        self._framed = False
        """Whether a data line came, so that these are events and not lines of JSON."""
        self._document = False
        """Whether the body is one JSON text over several lines."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes. Blank lines and comments have none."""
        events: list[Event] = []
        if self._ended:
            return events
        if (
            data.startswith(b"data:")
            and data.find(_LINE_FEED) == len(data) - 2
            and data[-1] == _LINE_FEED
            and _RETURN not in data
            and len(data) <= limits.MAX_LINE
            and self._is_between
            and self._record(data[5:-2], events)
        ):  # one whole event, as for nearly each token
            self._framed = True
            return events
        if self._at_start:
            data = self._skip_mark(data)
        if self._after_return or _RETURN in data:
            data = self._with_line_feeds(data)
        for line in self._lines.feed(data):
            if self._line(line, events):
                return events
        if self._lines.too_long:
            self._fail(events, MALFORMED_RECORD)
        return events

    def close(self) -> list[Event]:
        """Return the events that end the response. Call it once its bytes have ended."""
        events: list[Event] = []
        if self._ended:
            return events
        # The last event may lack its blank line, and the last line its end.
        if rest := bytes(self._lines.rest) or self._start:
            self._line(rest, events)
        if not self._ended and self._data:
            self._document = False
            self._dispatch(events)
        if events and events[-1] is MALFORMED_RECORD:
            events[-1] = _CUT
        if not self._ended:
            if self._done and self._framed and self._records.finished and not self._records.whole:
                self._fail(events, NO_END)
            else:
                self._finish(events)
        return events

    def cut(self, ended: Ended) -> list[Event]:
        """Return the finishes and the usage of what was read. See `Decoder.cut`."""
        if self._ended:
            return []
        self._ended = True
        return self._records.cut(ended)

    @property
    def _is_between(self) -> bool:
        """Whether nothing of an event, of a line or of a whole response waits for its rest."""
        return not (
            self._at_start
            or self._after_return
            or self._lines.rest
            or self._data
            or self._type
            or self._document
        )

    def _skip_mark(self, data: bytes) -> bytes:
        """Drop a byte-order mark, which may come in pieces."""
        data = self._start + data
        if len(data) < len(_MARK) and _MARK.startswith(data):
            self._start = data
            return b""
        self._start = b""
        self._at_start = False
        return data.removeprefix(_MARK)

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Write every line end as a line feed. A carriage return at the end may be half of one."""
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _line(self, line: bytes, events: list[Event]) -> bool:
        """Read one line, and return whether the response has ended."""
        if self._document:
            self._hold(line, events)
        elif line.startswith(b"data:"):
            self._framed = True
            payload = line[5:]
            # A whole record in one line needs no blank line after it.
            if self._data or not self._record(payload, events):
                self._hold(payload.removeprefix(b" "), events)
        elif not line:
            if self._data:
                self._dispatch(events)
            self._type = b""
        elif not line.startswith(b":"):
            self._field(line, events)
        return self._ended

    def _field(self, line: bytes, events: list[Event]) -> None:
        if (text := line.strip()).startswith((b"{", b"[")):
            if self._record(text, events):
                return
            if self._framed or self._records.started or _is_json(text):
                self._fail(events, MALFORMED_RECORD)
            else:
                self._document = True
                self._hold(line, events)
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._type = value
        elif name == b"data":
            self._hold(value, events)
        elif name == b"error" and value.startswith(b"{"):
            self._fail(events, read_failure(value))

    def _hold(self, line: bytes, events: list[Event]) -> None:
        self._data.append(line)
        self._size += len(line) + 1
        if self._size > limits.MAX_LINE:
            self._fail(events, MALFORMED_RECORD)

    def _dispatch(self, events: list[Event]) -> None:
        """Read an event that a line did not complete."""
        data, self._data, self._size = b"\n".join(self._data), [], 0
        if not data.strip() or self._record(data, events):
            return
        if self._type == b"error":
            self._fail(events, read_failure(data))
        elif not self._named:
            self._fail(events, MALFORMED_RECORD)

    def _record(self, payload: bytes, events: list[Event]) -> bool:
        """Read a record. Return False, and change nothing, if the text is not a whole record."""
        if len(payload) < 12 and payload.strip().upper() in _DONE:
            self._finish(events)
            return True
        try:
            self._read(payload, events)
        except NoRecord:
            return self._type != b"error" and self._may_be_ignored(payload)
        except UnicodeDecodeError:  # the standard replaces what is not UTF-8
            return self._record(payload.decode(errors="replace").encode(), events)
        except (ValueError, RecursionError):
            if not _is_json(payload):
                mended = _mended(payload)
                return mended is not None and self._record(mended, events)
            if payload.strip() in _NOTHING:
                return True
            if self._named and b'"choices"' not in payload:
                return False
            events.append(MALFORMED_RECORD)
        if events and type(events[-1]) is Failure:
            self._ended = True
        elif self._records.full:
            self._finish(events)
        return True

    def _read(self, payload: bytes, events: list[Event]) -> None:
        if payload.startswith((b"[", b" [")):
            payload.decode()  # raises now, as none of the list may be read twice
            for place, record in enumerate(msgspec.json.decode(payload, type=list[msgspec.Raw])):
                try:
                    self._records.read(bytes(record), events)
                except NoRecord:
                    if not place:
                        raise
                    raise ValueError("a list with something else than records") from None
                if events and type(events[-1]) is Failure:
                    return
        else:
            self._records.read(payload, events)

    def _may_be_ignored(self, payload: bytes) -> bool:
        """Return whether an object that is not a record may be skipped. It may if it is a sign of
        life, or if it has the cost of the answer after every choice has finished.
        """
        fields = msgspec.json.decode(payload)
        if not isinstance(fields, dict) or any(fields.get(name) for name in ANSWERS):
            return False
        return not fields or fields in _ALIVE or self._records.finished

    @property
    def _named(self) -> bool:
        """Whether the event has a type of its own."""
        return self._type not in (b"", b"message")

    def _finish(self, events: list[Event]) -> None:
        self._records.end(events)
        self._ended = True

    def _fail(self, events: list[Event], failure: Failure) -> None:
        events.append(failure)
        self._ended = True


def _mended(text: bytes) -> bytes | None:
    """Return text that is almost JSON as JSON, or None if that is not possible.

    That is NaN and infinity, control characters in a text, and half of a surrogate pair.
    """
    import json  # not at a cold start

    if not text.rstrip().endswith((b"}", b"]")):
        return None  # most likely one line of several
    try:
        fields = json.loads(text, strict=False, parse_constant=lambda _: UNLIKELY)
        return re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(fields, ensure_ascii=False)).encode()
    except (ValueError, RecursionError):
        return None


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True
