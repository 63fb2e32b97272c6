"""Event-stream frames are decoded as botocore decodes them, however the bytes are cut."""

import struct
from itertools import pairwise
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from moto.core.eventstream import EventStreamEncoder

from lambda_fn.aws.eventstream import Decoder, EventStreamError, Frame

encode = EventStreamEncoder().encode_message
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
frames = st.lists(
    st.tuples(st.dictionaries(names, st.text(max_size=40), max_size=4), st.binary(max_size=400)),
    max_size=5,
)


def decode(data: bytes, cuts: list[int]) -> list[Frame]:
    """Decode bytes that are cut at the given positions."""
    decoder = Decoder()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoded = [frame for start, end in pairwise(edges) for frame in decoder.feed(data[start:end])]
    assert decoder.pending == 0
    return decoded


@given(messages=frames, cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_frames_are_botocores(
    messages: list[tuple[dict[str, str], bytes]], cuts: list[int]
) -> None:
    """Any frames decode to what was encoded and to what botocore decodes, at any cuts."""
    data = b"".join(encode(headers, payload) for headers, payload in messages)
    decoded = decode(data, cuts)
    assert [(frame.headers, frame.payload) for frame in decoded] == messages
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    assert [(event.headers, event.payload) for event in buffer] == [
        (frame.headers, frame.payload) for frame in decoded
    ]


def test_byte_by_byte() -> None:
    """Bytes that arrive one at a time give the same frames."""
    data = encode({":event-type": "PayloadPart"}, b"hello") + encode(
        {":message-type": "exception"}, b"{}"
    )
    assert decode(data, list(range(len(data)))) == decode(data, [])


def test_other_header_types_are_passed_over() -> None:
    """Headers that are not strings are skipped by their size."""
    block = (
        b"\x01a\x00\x01b\x04\x00\x00\x00\x07\x01c\x06\x00\x02xy\x01d\x09"
        + bytes(16)
        + b"\x01e\x07\x00\x01z"
    )
    prelude = struct.pack(">II", 16 + len(block), len(block))
    message = prelude + struct.pack(">I", crc32(prelude)) + block
    assert Decoder().feed(message + struct.pack(">I", crc32(message))) == [Frame({"e": "z"}, b"")]


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_damage_is_noticed(position: int, bit: int) -> None:
    """If any bit is flipped, there is no frame."""
    data = bytearray(encode({":event-type": "PayloadPart"}, b"some payload"))
    data[position % len(data)] ^= 1 << bit
    decoder = Decoder()
    try:
        assert decoder.feed(bytes(data)) == []
    except EventStreamError:
        return
    assert decoder.pending


def test_absurd_length_is_refused() -> None:
    """A frame with too large a length is an error before its bytes arrive."""
    prelude = struct.pack(">II", 2**31, 0)
    with pytest.raises(EventStreamError):
        Decoder().feed(prelude + struct.pack(">I", crc32(prelude)))
