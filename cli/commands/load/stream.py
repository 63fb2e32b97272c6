"""One planned request: it is sent, its answer is read, and a record of it is left."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cli.commands.load.endings import Close, Ending, ending
from cli.commands.load.event_stream import Malformed
from cli.commands.load.forms import Form, error_code

if TYPE_CHECKING:
    from cli.commands.load.distribution import Distribution
    from cli.commands.load.plan import Planned

E = TypeVar("E", bound="Exchange")
_MAX_ERROR = 64 * 1024
_MAX_CHUNKS = 100_000
"""Chunks of an answer whose times are kept until its usage comes."""


class Exchange(Protocol):
    """A request and its answer on their way."""

    def leave(self) -> None:
        """Break it off. Its receiver gets no further call."""


@dataclass(slots=True)
class Record:
    """What happened to one request. Times are seconds on the clock of `time.monotonic`."""

    number: int
    reader: str
    planned: float
    sent: float | None = None
    connected: float | None = None
    first: float | None = None
    """When the first output came."""
    last: float | None = None
    """When the last output came."""
    over: float | None = None
    ending: Ending = field(default_factory=lambda: Ending("unsent"))
    status: int | None = None
    request_id: str = ""
    key: int = 0
    """The number of the key that it was sent with."""
    chunks: int = 0
    characters: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    longest_gap: float = 0.0
    resumed: bool = False
    """Whether this client left within the answer, and resumed it."""
    booked: str = ""
    """What the ledger says: an outcome, `open`, `absent`, or empty if it was not asked."""

    @property
    def is_timed(self) -> bool:
        """Whether its latencies count: a slow reader makes its own, and so does who comes back."""
        return self.reader not in ("slow", "resumer")

    @property
    def is_unknown(self) -> bool:
        """Whether this client sent it and left before a head came, so that it has no id here."""
        left = self.ending.name in {"dropped", "slow"}
        return left and self.sent is not None and self.status is None

    @property
    def ttft(self) -> float | None:
        """Seconds from the planned moment to the first output."""
        return None if self.first is None else self.first - self.planned

    @property
    def itl(self) -> float | None:
        """Seconds between tokens on average: from the first output to the last."""
        if self.first is None or self.last is None or self.tokens < 2:
            return None
        return (self.last - self.first) / (self.tokens - 1)

    @property
    def tokens(self) -> int:
        """The tokens of the answer's usage; without usage, its chunks."""
        return self.chunks if self.completion_tokens is None else self.completion_tokens


class Stream:
    """Receives one response and fills its record."""

    def __init__(self, planned: Planned, record: Record, form: Form) -> None:
        """Take what was planned, and the record to fill."""
        self._planned = planned
        self._proves_end = form.proves_end
        self.record = record
        self._reader = form.reader()
        self._error = b""
        self._exchange: Exchange | None = None
        self.heard = time.monotonic()
        """When something came last."""
        self._times = array("d")
        self._sizes = array("L")
        self._code = ""
        self._log = ""
        """The name of the answer's log."""
        self._has_left = False
        """Whether a resumer has left, and is to come back."""

    @property
    def resumed_at(self) -> str | None:
        """The path at which the answer goes on, None if this client did not leave it."""
        if not self._has_left or self.record.over is not None:
            return None
        return f"/sluice/streams/{self._log}?starting_after={self._reader.signs.number}"

    @property
    def rest(self) -> dict[str, Any]:
        """The message that asks for the rest of such an answer on another socket."""
        after = self._reader.signs.number
        return {"type": "response.resume", "response_id": self._log, "starting_after": after}

    def resume(self) -> None:
        """Read the rest of the answer from another response."""
        self._has_left = False
        self.record.resumed = True
        self._reader.resume()

    # of connection.Receiver

    def status(self, status: int, headers: dict[str, str]) -> None:
        """Note the head of the response."""
        self.heard = time.monotonic()
        self.record.status = status
        if not self.record.resumed:
            self.record.request_id = headers.get("x-request-id", "")[:64]
            self._log = headers.get("x-sluice-stream", "")[:64]

    def data(self, data: bytes) -> None:
        """Read the answer. All chunks of `data` get the same time."""
        now = self.heard = time.monotonic()
        record = self.record
        if record.status != 200:
            self._error = (self._error + data)[:_MAX_ERROR]
            return
        for size in self._reader.feed(data):
            if record.first is None:
                record.first = now
            else:
                record.longest_gap = max(record.longest_gap, now - (record.last or now))
            record.last = now
            record.chunks += 1
            record.characters += size
            if record.chunks <= _MAX_CHUNKS:
                self._times.append(now)
                self._sizes.append(size)
            if self._planned.reader == "dropper" and record.chunks >= self._planned.leave_after:
                self.leave("left")
                return
        # What came with the last chunk is read, so that the rest begins behind all of it.
        if self._may_leave and self._exchange is not None:
            self._has_left = True
            self._exchange.leave()

    @property
    def _may_leave(self) -> bool:
        """Whether a resumer leaves now: the answer has a log, and goes on behind a number."""
        signs, record = self._reader.signs, self.record
        return (
            self._planned.reader == "resumer"
            and record.chunks >= self._planned.leave_after
            and not record.resumed
            and bool(self._log)
            and signs.number >= 0
            and not signs.marker
        )

    def ended(self, *, whole: bool, malformed: str = "") -> None:
        """Note how it ended."""
        if malformed:
            self._end(Ending("malformed", malformed))
            return
        if whole and self.record.status == 200:
            try:
                self._reader.close()
            except Malformed as error:
                self._end(Ending("malformed", str(error)))
                return
        self._close("whole" if whole else "broken")

    # of the generator

    def connected(self) -> None:
        """Note that there is a connection."""
        self.record.connected = time.monotonic()

    def attach(self, exchange: E) -> E:
        """Take the exchange of this stream, and return it."""
        self._exchange = exchange
        if self.record.over is not None:  # this client left while it connected
            exchange.leave()
        return exchange

    def leave(self, close: Close) -> None:
        """Break off: `late`, `silence` or `left`."""
        if self._exchange is not None:
            self._exchange.leave()
        self._close(close)

    def unreachable(self, code: str) -> None:
        """Note that there was no connection."""
        self._end(Ending("unreachable", code))

    def _close(self, close: Close) -> None:
        found = ending(
            self._reader.signs,
            close=close,
            status=self.record.status,
            code=error_code(self._error) if self._error else "",
            proves_end=self._proves_end,
        )
        self._end(found)

    def _end(self, ending: Ending) -> None:
        if self.record.over is not None:
            return
        self.record.over = time.monotonic()
        self.record.ending = ending
        self.record.prompt_tokens = self._reader.signs.prompt_tokens
        self.record.completion_tokens = self._reader.signs.completion_tokens

    def count_gaps(self, tokens: Distribution, chunks: Distribution) -> None:
        """Count the times between tokens, and between chunks, of an answer that is over.

        A chunk may have several tokens, and nothing tells how many. Each chunk counts as a token,
        and what the answer has beyond that is divided among its chunks by their characters. Of an
        answer with fewer tokens than chunks, all tokens are divided so, and a chunk may have none.
        t tokens that come g seconds after the tokens before count as t times g / t.
        """
        whole, count, parts = self.record.characters, self.record.tokens, self.record.chunks
        if not whole or not self._times:
            return
        each = 1 if count >= parts else 0
        characters, counted, since = 0, 0, self._times[0]
        for number, (now, size) in enumerate(zip(self._times, self._sizes, strict=True)):
            characters += size
            here = (
                each * (number + 1) + round(characters * (count - each * parts) / whole) - counted
            )
            if number == 0:
                counted = max(1, here)
                continue
            chunks.add(now - self._times[number - 1])
            if here > 0:
                tokens.add((now - since) / here, here)
                counted, since = counted + here, now
