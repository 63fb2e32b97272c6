"""No stage of a token becomes twice as expensive unnoticed, and a response gets no more tasks.

Each stage is compared with its own kernel, the least work that any program needs for the same
bytes. They run in turn, so the ratio is the same on a fast and on a slow machine. Noise only adds
to a time, so the minimum of many short runs shows a doubling even on a busy machine.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any
from zlib import crc32

import httptools
import msgspec
import pytest

from bench.adapter.frames import answer
from lambda_fn.aws import eventstream
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.encode.base import Head
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.event_log import NoLog
from lambda_fn.events import Delta, End, Finish, Start, Usage
from lambda_fn.stream.admit import Switch
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.sinks import AsgiSink
from lambda_fn.stream.usage_counter import UsageCounter
from tests.support.function import Call
from tests.support.replies import STREAM
from tests.support.seam import ScriptedInvocation

Run = Callable[[], object]
LOOP = asyncio.new_event_loop()
TOKENS = 200
_RUNS = 40
_ATTEMPTS = 3


class _Body:
    """Collects what the HTTP parser finds."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.on_body = self.parts.append


def _frames() -> bytes:
    body = _Body()
    parts, ending = answer("lines", TOKENS)
    parser = httptools.HttpResponseParser(body)
    parser.feed_data(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(parts) + ending
    )
    return b"".join(body.parts)


FRAMES = _frames()
LINES = b"".join(frame.payload for frame in eventstream.Decoder().feed(FRAMES))
EVENTS = LineDecoder().feed(LINES)
HEAD = Head("01h00000000000000000000000", 1_700_000_000, "model", fingerprint="fp_0123456789")
_lengths = Struct(">II").unpack_from
_record = msgspec.json.Decoder(Start | Delta | Finish | Usage | End)


def least_frames() -> list[bytes]:
    """Find each frame's end, compute its checksum once, and cut its payload out."""
    view, at, out = memoryview(FRAMES), 0, []
    while at < len(FRAMES):
        total, head = _lengths(FRAMES, at)
        crc32(view[at : at + total - 4])
        out.append(FRAMES[at + 12 + head : at + total - 4])
        at += total
    return out


def least_lines() -> list[object]:
    """Cut lines and decode them."""
    return [_record.decode(line) for line in LINES.split(b"\n") if line]


def least_chunks() -> bytes:
    """Join three parts for each event."""
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


async def send(_: object) -> None:
    """Take a message of the application, like a server whose client keeps up."""


def one_a_part() -> ScriptedInvocation:
    """Return an invocation whose parts have one line each, as when each token is sent at once."""
    return ScriptedInvocation([line + b"\n" for line in LINES.splitlines()], pause=False)


def seam() -> object:
    """Carry a chat stream through producer and delivery."""
    return LOOP.run_until_complete(_seam())


async def _seam() -> None:
    invocation: Any = one_a_part()
    delivery = Delivery(ChatStream(HEAD), AsgiSink(send))
    producer = Producer(
        invocation, LineDecoder(), UsageCounter(), NoLog(), seconds=60, on_stop=delivery.hasten
    )
    async with producer:
        await delivery.run(producer)


def least_seam() -> object:
    """Do the same in one loop."""
    return LOOP.run_until_complete(_least_seam())


async def _least_seam() -> None:
    invocation, decoder, encoder, counter = (
        one_a_part(),
        LineDecoder(),
        ChatStream(HEAD),
        UsageCounter(),
    )
    while not counter.complete:
        events = decoder.feed(await invocation.read(0) or b"")
        counter.count(events)
        await send(
            {"type": "http.response.body", "body": encoder.encode(events), "more_body": True}
        )


def chunks() -> object:
    """Encode a chat stream, counting."""
    UsageCounter().count(EVENTS)
    return ChatStream(HEAD).encode(EVENTS)


STAGES: dict[str, tuple[Run, Run, float]] = {
    "event stream": (frames, least_frames, 2.1),
    "lines": (lines, least_lines, 2.2),
    "chat chunks": (chunks, least_chunks, 1.8),
    "producer and delivery": (seam, least_seam, 1.3),
}
"""Stage, kernel, and their ratio when it was last looked at (CPython 3.11, x86-64)."""
BOUND = 1.5


@pytest.fixture(scope="module", autouse=True)
def _closed_loop() -> Iterator[None]:
    yield
    LOOP.close()


def ratio(stage: Run, kernel: Run) -> float:
    """Return how many times its kernel's CPU time a stage takes.

    The stage and the kernel run in turn, many times. The minimum of each counts.
    """
    least = [float("inf"), float("inf")]
    for _ in range(_RUNS):
        for number, run in enumerate((stage, kernel)):
            began = time.thread_time_ns()
            for _ in range(4):
                run()
            least[number] = min(least[number], time.thread_time_ns() - began)
    return least[0] / least[1]


def regressed(stage: Run, kernel: Run, recorded: float) -> bool:
    """Return whether a stage is too expensive in every one of some attempts."""
    return all(ratio(stage, kernel) > recorded * BOUND for _ in range(_ATTEMPTS))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_costs_what_it_did(name: str) -> None:
    """A stage takes at most half as long again as when its ratio was recorded."""
    stage, kernel, recorded = STAGES[name]
    assert not regressed(stage, kernel, recorded), (
        f"{ratio(stage, kernel):.2f} times its kernel, was {recorded}"
    )


@pytest.mark.parametrize("name", STAGES)
def test_a_doubling_is_noticed(name: str) -> None:
    """A stage that does its work twice is reported."""
    stage, kernel, recorded = STAGES[name]
    assert regressed(lambda: (stage(), stage()), kernel, recorded)


@pytest.mark.usefixtures("account")
async def test_a_response_makes_two_tasks(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside its connections, a chat completion makes two tasks.

    They are for the ledger item and the settlement. Between producer and delivery there is none.
    Once in five seconds, a third one reads whether the service is stopped.
    """
    monkeypatch.setattr(Switch, "is_due", False)
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        if "/lambda_fn/stream/" in coro.cr_code.co_filename:
            made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(factory)
    assert (await call(body=STREAM)).status == 200
    assert made == ["Gate._open_ledger", "settle"]
