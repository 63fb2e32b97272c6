"""Server-sent events, however they are cut."""

from itertools import pairwise

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.load.event_stream import MAX_EVENT, EventStream, Malformed

PIECES = st.lists(
    st.sampled_from(
        [b"data: a", b"data:", b"data", b"data: {}", b": x", b"event: e", b"id: 1", b"\n", b"\r",
         b"\r\n", b"\n\n", b"x", b" ", "ö".encode(), "\u2028".encode()]
    ),
    max_size=30,
).map(b"".join)  # fmt: skip


def whole(body: bytes) -> list[bytes]:
    """Return the events of a body that comes at once."""
    return EventStream().feed(body)


@given(PIECES, st.lists(st.integers(0, 200), max_size=8))
def test_cuts_do_not_matter(body: bytes, places: list[int]) -> None:
    """A body has the same events however it is cut, byte by byte too."""
    cuts = sorted({0, len(body), *(min(it, len(body)) for it in places)})
    stream, single = EventStream(), EventStream()
    cut = [it for at, to in pairwise(cuts) for it in stream.feed(body[at:to])]
    by_byte = [it for byte in body for it in single.feed(bytes([byte]))]
    expected = whole(body)
    if body.endswith(b"\r"):  # whether an LF follows is not known yet, so an event may be held
        assert cut == by_byte == expected
    assert cut == expected
    assert by_byte == expected


@given(PIECES)
def test_events_are_those_of_an_independent_parser(body: bytes) -> None:
    """httpx-sse finds the same events in a stream whose last line has its end."""
    body += b"\n\n"
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    expected = [it.data.encode() for it in EventSource(response).iter_sse()]
    # httpx-sse also yields events without data, which the standard drops
    assert [it for it in whole(body) if it] == [it for it in expected if it]


def test_an_event_without_an_end_is_none() -> None:
    """What stands before no blank line is no event."""
    assert whole(b"data: a\n\ndata: b\n") == [b"a"]


@pytest.mark.parametrize("line", [b"data: ", b"data: x\n"])
def test_an_event_is_bounded(line: bytes) -> None:
    """An event that grows without an end is malformed, in one line or in many."""
    stream = EventStream()
    rest = line + b"x" * 100_000 if line.endswith(b" ") else line * 20_000
    more = b"x" * 100_000 if line.endswith(b" ") else rest
    stream.feed(rest)
    for _ in range(MAX_EVENT // len(more) - 1):
        stream.feed(more)
    with pytest.raises(Malformed, match="event_too_large"):
        stream.feed(more * 2)


def test_a_long_stream_is_not_a_large_event() -> None:
    """The bound is of one event, not of all of them."""
    stream = EventStream()
    block = b"data: x\n\n" * 100_000
    assert sum(len(stream.feed(block)) for _ in range(10)) == 1_000_000
