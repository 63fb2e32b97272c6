"""The container's lines -> events."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import limits
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.events import Delta, End, Event, Failure, Finish, Start, Usage

ANSWER: list[dict[str, Any]] = [
    {"type": "start", "prompt_tokens": 12},
    {
        "type": "delta",
        "index": 0,
        "delta": {"content": " tökén 🚰"},
        "tokens": 2,
        "logprobs": {"content": []},
    },
    {
        "type": "delta",
        "index": 0,
        "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a'}}]},
        "tokens": 1,
    },
    {"type": "finish", "index": 0, "finish_reason": "stop"},
    {"type": "usage", "prompt_tokens": 12, "completion_tokens": 3},
    {"type": "end"},
]
BYTES = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in ANSWER)


def plain(events: list[Event]) -> Any:
    """Return events in a form that can be compared, with raw JSON decoded."""
    return msgspec.json.decode(msgspec.json.encode(events))


def decode(data: bytes, cuts: list[int]) -> list[Event]:
    """Decode bytes that are cut at the given positions, and close the decoder."""
    decoder = LineDecoder()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    events = [event for start, end in pairwise(edges) for event in decoder.feed(data[start:end])]
    return events + decoder.close()


def test_whole_answer() -> None:
    """Every record of the contract becomes its event."""
    kinds = [type(event) for event in decode(BYTES, [])]
    assert kinds == [Start, Delta, Delta, Finish, Usage, End]


@given(cuts=st.lists(st.integers(0, len(BYTES))))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    """However the bytes are cut, the events are the same."""
    assert plain(decode(BYTES, cuts)) == plain(decode(BYTES, []))


USUAL = b'{"type":"delta","index":0,"delta":{"content":" a"},"tokens":1}'
ODD = st.sampled_from(
    [b"", b"\n", b"\r", b" ", b"\xff", b"\xc3\xa9", b'"', b"\\", b"{", b"}", b"[", b",", b"1", b"-"]
)


@given(at=st.integers(0, len(USUAL)), drop=st.integers(0, 3), put=ODD, choices=st.integers(1, 2))
def test_a_whole_line_is_read_as_one_in_pieces(
    at: int, drop: int, put: bytes, choices: int
) -> None:
    """A line that comes alone and whole has the events that it has in pieces, whatever is odd."""
    line = USUAL[:at] + put + USUAL[at + drop :] + b"\n"
    whole, pieces = LineDecoder(choices), LineDecoder(choices)
    found = [*whole.feed(line), *whole.feed(USUAL + b"\n")]
    expected: list[Event] = []
    for piece in (line, USUAL + b"\n"):
        for start in range(len(piece)):
            expected += pieces.feed(piece[start : start + 1])
    assert plain(found) == plain(expected)
    assert plain([*whole.cut("deadline"), *whole.close()]) == plain(
        [*pieces.cut("deadline"), *pieces.close()]
    )


def test_byte_by_byte() -> None:
    """Bytes that arrive one at a time, with heartbeats between, give the same events."""
    data = b"\n\r\n" + BYTES.replace(b"\n", b"\n\n \n")
    assert plain(decode(data, list(range(len(data))))) == plain(decode(BYTES, []))


@given(length=st.integers(0, len(BYTES) - 1))
def test_truncation_is_never_silent(length: int) -> None:
    """A response that is truncated anywhere before its last line feed ends in a failure."""
    last = decode(BYTES[:length], [])[-1]
    assert isinstance(last, Failure)
    assert last.code == "cut"


def test_end_without_finish_is_a_cut() -> None:
    """An end record before every choice has finished is a failure."""
    answer = b'{"type":"start","prompt_tokens":1}\n{"type":"end"}\n'
    assert decode(answer, [])[-1] == Failure("cut", "a choice has no end")


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"[]",
        b'{"type":"delta"}',
        b'{"type":"delta","delta":5}',
        b'{"type":"delta","delta":{"content":"\xff"}}',
        b'{"type":"delta","delta":{"content":\r"a"}}',
        b'{"type":"delta","index":-1,"delta":{}}',
        b'{"type":"delta","index":1,"delta":{}}',
        b'{"type":"finish","index":1,"finish_reason":"stop"}',
        b'{"type":"delta","tokens":-1,"delta":{}}',
        b'{"type":"usage","prompt_tokens":-5,"completion_tokens":1}',
        b'{"type":"start","prompt_tokens":"1"}',
        b'{"type":"start","prompt_tokens":1%b}' % (b"0" * 50),
        b'{"type":"delta","tokens":9223372036854775808,"delta":{}}',
        b'{"type":"usage","prompt_tokens":1,"completion_tokens":1099511627776}',
        b'{"type":"delta","delta":' + b"[" * 100_000,
        b'"' + b"x" * limits.MAX_LINE + b'"',
    ],
    ids=range(17),
)
def test_garbage_is_a_failure(line: bytes) -> None:
    """A malformed record ends the response in a failure.

    Records before it are kept, and those after it are not read.
    """
    events = decode(BYTES.partition(b"\n")[0] + b"\n" + line + b"\n" + BYTES, [])
    assert [type(event) for event in events] == [Start, Failure]
    assert plain(events)[1]["code"] == "malformed"


def test_endless_line_is_bounded() -> None:
    """A line without an end becomes a failure at the limit."""
    decoder = LineDecoder()
    piece = b"x" * 100_000
    fed = 0
    while not (events := decoder.feed(piece)):
        fed += len(piece)
        assert fed <= limits.MAX_LINE
    assert isinstance(events[0], Failure)


@given(st.binary(max_size=300))
def test_any_bytes_end_in_something(data: bytes) -> None:
    """No bytes make the decoder raise. Every response ends in exactly one end or failure."""
    ends = [event for event in decode(data, []) if isinstance(event, End | Failure)]
    assert len(ends) == 1


@given(st.integers(0, len(BYTES)))
def test_a_response_that_is_cut_finishes_each_choice_once(at: int) -> None:
    """A choice without a finish ends with `length`, and nothing is read afterwards."""
    decoder = LineDecoder(2)
    events = decoder.feed(BYTES[:at])
    if events and isinstance(events[-1], Failure):  # the second choice had none
        return
    events += decoder.cut("deadline")
    finishes = {event.index: event for event in events if isinstance(event, Finish)}
    assert len(finishes) == sum(isinstance(event, Finish) for event in events) == 2
    assert finishes[1] == Finish("length", 1, "deadline")
    assert finishes[0] in (Finish("length", 0, "deadline"), Finish("stop", 0))
    assert decoder.feed(BYTES[at:]) == decoder.cut("deadline") == []
