"""Wire numbers: the position of each piece of a logged stream, from which a client resumes.

Each chunk of a chat, completion or message has `"sluice": {"n": k}`. The first chunk has the number
0, and each later one is one higher. Heartbeats have no number. The number of a byte of bare text is
the count of bytes up to it, without heartbeats. Events of responses have OpenAI's
`sequence_number`.

Wire numbers follow from head and events alone. If a client has everything up to a number, its
encoder begins with the first event, and leaves out what has this number or a lower one.

If somebody other than the producer ended the response, the client may have seen numbers that no log
has. So the terminal event then has a number above all of them: `GAP` more than the last one.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from lambda_fn.encode.base import Encoder, Form
from lambda_fn.errors import APIError
from lambda_fn.events import Delta, Event, Failed, Finish

if TYPE_CHECKING:
    from lambda_fn.encode.chat_stream import ChatStream
    from lambda_fn.encode.responses import ResponseStream

GAP = 100_000
"""The distance of a fenced response's terminal event from the number before it."""
NUMBERED: tuple[Form, ...] = (
    *("chat_stream", "completion_stream", "messages_stream", "responses_stream"),
    "plain_text",
)
"""The forms that have wire numbers. The others are one JSON value, which cannot be resumed."""
_MARKS = 6_000
"""Events whose places are kept. A live client is never so far ahead of the log."""
_DONE = b"data: [DONE]"
_CHUNK_END = b"\n\n"


def numbered(encoder: Encoder, form: Form, after: int | None) -> Encoder:
    """Return an encoder that writes the numbers.

    `after` is the number of the last piece that the client has, None if it has none.
    """
    if form == "plain_text":
        return NumberedText(encoder, 0 if after is None else after)
    if form == "responses_stream":
        return NumberedResponse(cast("ResponseStream", encoder), -1 if after is None else after)
    return NumberedEvents(encoder, -1 if after is None else after, is_chat=form == "chat_stream")


class _Places:
    """The places at which the last events begin.

    Nearly every event is one piece, so only the others are kept: the number of the event after
    each, and its place.
    """

    def __init__(self, place: int) -> None:
        self._kept: deque[tuple[int, int]] = deque(((0, place),), _MARKS)

    def note(self, begin: int, end: int) -> None:
        """Note the next event, from place to place. One of a single piece may be left out."""
        if end != begin + 1:
            number, place = self._kept[-1]
            self._kept.append((number + begin - place + 1, end))

    def at(self, number: int) -> int:
        """Return the place at which an event begins, which is no later one than the next."""
        for first, place in reversed(self._kept):
            if first <= number:
                return place + number - first
        return self._kept[0][1]


class NumberedEvents:
    """Server-sent events with numbers."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, encoder: Encoder, after: int, *, is_chat: bool) -> None:
        """Take the encoder of the chunks. Those up to the number `after` are left out.

        `is_chat` tells that it is that of a chat, which can write the numbers of deltas.
        """
        self._encoder = encoder
        self._chat = cast("ChatStream", encoder) if is_chat else None
        self._after = after
        self._next = 0
        self._beginning = self._number(encoder.begin())
        self._places = _Places(self._next)

    def begin(self) -> bytes:
        """Return the chunks that begin the stream."""
        return self._beginning

    def encode(self, events: Sequence[Event]) -> bytes:
        """Return the chunks for these events."""
        number, chat = self._next, self._chat
        if chat is None or number <= self._after:
            return b"".join([self._event(event) for event in events])
        if len(events) == 1:  # a token that comes alone
            chunk = chat.numbered(events[0], number)
            if chunk is None:
                return self._event(events[0])
            self._next = number + 1
            return chunk
        left, out = iter(events), list[bytes]()
        while True:
            before = len(out)
            other = chat.number(left, self._next, out)  # nearly every token
            self._next += len(out) - before
            if other is None:
                return out[0] if len(out) == 1 else b"".join(out)
            out.append(self._event(other))

    def _event(self, event: Event) -> bytes:
        """Return the chunks of one event."""
        data = self._encoder.encode((event,))
        begin, line, last = self._next, data.find(b"\n"), len(data) - 2
        if type(event) is Delta and (line == last or data.find(b"\n", line + 1) == last):
            self._next = begin + 1  # one chunk, of one line or two
            if begin > self._after:
                return b'%b,"sluice":{"n":%d}}\n\n' % (data[:-3], begin)
            return b""
        if data:
            has_member = type(event) is Finish and event.ended is not None
            data = self._number(data, has_member=has_member)
        elif type(event) is Failed and event.fenced is not None:
            self._next = self._places.at(event.fenced) + GAP - 1
        self._places.note(begin, self._next)
        return data

    def _number(self, data: bytes, *, has_member: bool = False) -> bytes:
        """Return chunks with their numbers. With `has_member`, they have the member `sluice`."""
        out: list[bytes] = []
        for chunk in data.split(_CHUNK_END)[:-1]:
            if chunk == _DONE:
                out.append(chunk)
                continue
            if self._next > self._after:
                if has_member and b'"sluice":{' in chunk:
                    out.append(chunk.replace(b'"sluice":{', b'"sluice":{"n":%d,' % self._next, 1))
                else:
                    out.append(b'%b,"sluice":{"n":%d}}' % (chunk[:-1], self._next))
            self._next += 1
        return _CHUNK_END.join((*out, b"")) if out else b""

    def heartbeat(self) -> bytes:
        """Return a chunk without a number."""
        return self._encoder.heartbeat()

    def lost(self) -> bytes:
        """Return a chunk that says that the rest of the stream is not logged."""
        return self._encoder.heartbeat()[:-3] + b',"sluice":{"log":"lost"}}\n\n'

    def fail(self, error: APIError) -> bytes:
        """Return the error, with its number."""
        return self._number(self._encoder.fail(error) or b"")


class NumberedResponse:
    """The events of a response, which number themselves."""

    content_type: ClassVar[str] = NumberedEvents.content_type

    def __init__(self, encoder: "ResponseStream", after: int) -> None:
        """Take the encoder of the events. Those up to the number `after` are left out."""
        encoder.after = after
        self._encoder = encoder
        self._places = _Places(encoder.number)

    def begin(self) -> bytes:
        """Return the events that begin the stream."""
        return self._encoder.begin()

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return the events of the stream for these events of the log."""
        out: list[bytes] = []
        for event in events:
            begin = self._encoder.number
            out.append(self._encoder.encode((event,)))
            if type(event) is Failed and event.fenced is not None:
                self._encoder.number = self._places.at(event.fenced) + GAP - 1
                self._encoder.drop_output()  # a live client had some that no log has
            self._places.note(begin, self._encoder.number)
        return b"".join(out)

    def heartbeat(self) -> bytes:
        """Return a comment, which has no number."""
        return self._encoder.heartbeat()

    def lost(self) -> bytes:
        """Return nothing: the next event says that the rest of the stream is not logged."""
        self._encoder.log_lost = True
        return b""

    def fail(self, error: APIError) -> bytes:
        """Return the event that tells of the failure."""
        return self._encoder.fail(error)


class NumberedText:
    """Bare text from a byte on."""

    content_type: ClassVar[str] = "text/plain; charset=utf-8"

    def __init__(self, encoder: Encoder, after: int) -> None:
        """Take the encoder of the text. Its first `after` bytes are left out."""
        self._encoder = encoder
        self._after = after
        self._sent = 0
        self._places = _Places(0)

    def begin(self) -> bytes:
        """Return nothing."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return the text of the events."""
        out: list[bytes] = []
        for event in events:
            begin = self._sent
            out.append(self._rest(self._encoder.encode((event,))))
            if type(event) is Failed and event.fenced is not None:
                self._sent = self._places.at(event.fenced) + GAP - 1
            self._places.note(begin, self._sent)
        return b"".join(out)

    def _rest(self, data: bytes) -> bytes:
        """Return what the client does not have."""
        begin = self._sent
        self._sent += len(data)
        return data[max(self._after - begin, 0) :]

    def heartbeat(self) -> bytes:
        """Return a character that does not count."""
        return self._encoder.heartbeat()

    def lost(self) -> bytes:
        """Return nothing: bare text has no place for it."""
        return b""

    def fail(self, error: APIError) -> bytes:
        """Return the trailer."""
        return self._rest(self._encoder.fail(error) or b"")
