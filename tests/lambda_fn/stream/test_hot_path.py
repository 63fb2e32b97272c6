"""No pure stage on a token's way gets twice as expensive unnoticed.

Each stage is held against its own kernel: the least that any program could do with the same bytes, which runs in turn
with it. The ratio is the same on a fast and on a slow machine, and noise only ever adds to a time, so that the least of
many short runs is told apart from a doubling on a machine that is busy.
"""

import time
from collections.abc import Callable
from struct import Struct
from zlib import crc32

import httptools
import msgspec
import pytest

from bench.adapter.frames import answer
from lambda_fn.aws import eventstream
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.encode.base import Head
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.events import Delta, End, Finish, Start, Usage
from lambda_fn.stream.settle import Tally

Run = Callable[[], object]
TOKENS = 200
_RUNS = 40
_TRIES = 3


class _Body:
    """What the HTTP parser finds."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.on_body = self.parts.append


def _frames() -> bytes:
    body = _Body()
    parts, ending = answer("lines", TOKENS)
    parser = httptools.HttpResponseParser(body)
    parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(parts) + ending)
    return b"".join(body.parts)


FRAMES = _frames()
LINES = b"".join(frame.payload for frame in eventstream.Decoder().feed(FRAMES))
EVENTS = LineDecoder().feed(LINES)
HEAD = Head("01h00000000000000000000000", 1_700_000_000, "model", fingerprint="fp_0123456789")
_lengths = Struct(">II").unpack_from
_record = msgspec.json.Decoder(Start | Delta | Finish | Usage | End)


def least_frames() -> list[bytes]:
    """Find each frame's end, sum it up once, cut its payload out."""
    view, at, out = memoryview(FRAMES), 0, []
    while at < len(FRAMES):
        total, head = _lengths(FRAMES, at)
        crc32(view[at : at + total - 4])
        out.append(FRAMES[at + 12 + head : at + total - 4])
        at += total
    return out


def least_lines() -> list[object]:
    """Cut and decode."""
    return [_record.decode(line) for line in LINES.split(b"\n") if line]


def least_chunks() -> bytes:
    """Put three parts together for each event."""
    out: list[bytes] = []
    for event in EVENTS:
        out += (b"data: {", LINES[:20] if event else b"", b"}\n\n")
    return b"".join(out)


def frames() -> object:
    """Decode the event stream."""
    return eventstream.Decoder().feed(FRAMES)


def lines() -> object:
    """Decode the container's lines."""
    return LineDecoder().feed(LINES)


def chunks() -> object:
    """Encode a chat stream, counting."""
    Tally().count(EVENTS)
    return ChatStream(HEAD).encode(EVENTS)


STAGES: dict[str, tuple[Run, Run, float]] = {
    "event stream": (frames, least_frames, 2.1),
    "lines": (lines, least_lines, 2.2),
    "chat chunks": (chunks, least_chunks, 1.8),
}
"""Stage, kernel, and their ratio when it was last looked at (CPython 3.11, x86-64)."""
BOUND = 1.5


def ratio(stage: Run, kernel: Run) -> float:
    """Give how many times its kernel's CPU time a stage takes: the least of many runs of each, in turn."""
    least = [float("inf"), float("inf")]
    for _ in range(_RUNS):
        for number, run in enumerate((stage, kernel)):
            began = time.thread_time_ns()
            for _ in range(4):
                run()
            least[number] = min(least[number], time.thread_time_ns() - began)
    return least[0] / least[1]


def regressed(stage: Run, kernel: Run, recorded: float) -> bool:
    """Say whether a stage has got too expensive: at every try."""
    return all(ratio(stage, kernel) > recorded * BOUND for _ in range(_TRIES))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_costs_what_it_did(name: str) -> None:
    """A stage takes at most half as long again as when its ratio was written down."""
    stage, kernel, recorded = STAGES[name]
    assert not regressed(stage, kernel, recorded), f"{ratio(stage, kernel):.2f} times its kernel, was {recorded}"


@pytest.mark.parametrize("name", STAGES)
def test_a_doubling_is_noticed(name: str) -> None:
    """A stage that does its work twice is reported."""
    stage, kernel, recorded = STAGES[name]
    assert regressed(lambda: (stage(), stage()), kernel, recorded)
