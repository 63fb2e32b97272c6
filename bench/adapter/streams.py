"""One stream as a client saw it: its bytes and their times.

Tokens are read from the bytes after the clock has stopped.
"""

from dataclasses import dataclass, field

import httptools

from bench.adapter.frames import numbers

_ENDS = (b"data: [DONE]", b'{"type":"end"}', b"event: message_stop")


@dataclass
class Recording:
    """The bytes of one answer. Times are seconds of `time.perf_counter`."""

    tokens: int
    sent_at: float
    raw: bool
    """Whether `pieces` are the bytes of an HTTP response, and not only of its body."""
    merged: bool = False
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    over: bool = False
    ended: bool = False
    """Whether the client itself has seen the answer's terminal event."""


@dataclass(frozen=True)
class Received:
    """The tokens of an answer.

    `times` has the time of each token. `complete` means that all tokens came in order, and the end
    after them.
    """

    sent_at: float
    times: list[float]
    complete: bool


class _Body:
    """Collects the body of an HTTP answer."""

    def __init__(self) -> None:
        self.status = 0
        self.parts: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def take(self) -> bytes:
        data = b"".join(self.parts)
        self.parts.clear()
        return data


def read(recording: Recording) -> Received:
    """Return the times at which an answer's tokens were complete, and whether all came."""
    body, answer, times = _Body(), bytearray(), list[float]()
    read_to = 0
    token_numbers: list[int] = []
    for when, piece in recording.pieces:
        if recording.raw:
            body.parser.feed_data(piece)
            piece = body.take()
        answer += piece
        line_end = answer.rfind(b"\n") + 1
        if line_end > read_to:
            new = numbers(bytes(answer[read_to:line_end]), merged=recording.merged)
            token_numbers += new
            times += [when] * len(new)
            read_to = line_end
    ended = recording.ended or any(end in answer[-400:] for end in _ENDS)
    complete = recording.over and ended and token_numbers == list(range(recording.tokens))
    return Received(recording.sent_at, times, complete)


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile: the smallest value that `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(len(ordered) * percent / 100 + 0.5) - 1))]
