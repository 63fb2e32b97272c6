"""Server-sent events from bytes, however they are cut. Pure.

The framing is that of the HTML standard: lines end with LF, CR or CRLF, a blank line ends an event,
and lines that no blank line follows are no event.
"""

MAX_EVENT = 4 * 1024 * 1024
"""Bytes of an event. A larger one is malformed: no token takes so many."""


class Malformed(ValueError):
    """What came is not what was agreed. The text is a code, such as `event_too_large`."""


class EventStream:
    """Decodes one stream."""

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self._line: list[bytes] = []  # the parts of a line whose end has not come
        self._held = b""  # a CR at the end of what came; an LF may follow
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of each event that `data` completes.

        Raises:
            Malformed: an event is too large.

        """
        data = self._held + data
        self._held = b""
        if b"\r" in data:
            if data.endswith(b"\r"):
                data, self._held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._size += len(data)
        if b"\n" not in data:
            self._line.append(data)
            self._bound()
            return []
        *lines, rest = data.split(b"\n")
        if self._line:
            lines[0] = b"".join(self._line) + lines[0]
        self._line = [rest] if rest else []
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                self._data.append(b"")
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
        if not self._data:
            self._size = len(rest)
        self._bound()
        return events

    def _bound(self) -> None:
        if self._size > MAX_EVENT:
            raise Malformed("event_too_large")
