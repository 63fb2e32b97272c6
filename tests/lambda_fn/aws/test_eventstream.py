"""Event-stream frames are decoded as botocore decodes them, however the bytes are cut."""

import struct
from itertools import pairwise
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from moto.core.eventstream import EventStreamEncoder

from lambda_fn.aws.eventstream import PART, Decoder, EventStreamError, Frame

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


PARTS = st.lists(
    st.tuples(
        st.sampled_from([{":event-type": "PayloadPart"}, {":event-type": "Other"}, {}]),
        st.binary(max_size=60),
    ),
    max_size=6,
)


def test_any_piece_behind_a_whole_part() -> None:
    """However the part behind a whole one is cut, it is what a frame is."""
    part = encode({":event-type": PART}, b"hello")
    for end in range(len(part) + 1):
        decoder = Decoder()
        decoder.feed(part)
        found = decoder.only_part(part[:end])
        assert found == (b"hello" if end == len(part) else None)
        if found is None:
            assert payloads(decoder, part[:end]) == []
            assert payloads(decoder, part[end:]) == [b"hello"]


def test_a_header_that_ends_within_its_length() -> None:
    """A frame with right checksums and half a header is malformed, as one with a wrong checksum."""
    block = b"\x01a\x07\x00"
    head = struct.pack(">II", 16 + len(block), len(block))
    frame = head + struct.pack(">I", crc32(head)) + block
    with pytest.raises(EventStreamError, match="header"):
        Decoder().feed(frame + struct.pack(">I", crc32(frame)))


@given(messages=PARTS, cuts=st.lists(st.integers(0, 600), max_size=4), flips=st.integers(0, 9000))
def test_a_part_alone_is_what_a_frame_is(
    messages: list[tuple[dict[str, str], bytes]], cuts: list[int], flips: int
) -> None:
    """The short way for bytes that are one part finds what the frames have, and no damage more."""
    pieces = [encode(headers, payload) for headers, payload in messages]
    edges = [0, *sorted(min(cut, len(b"".join(pieces))) for cut in cuts)]
    if flips % 3:  # else whole frames only
        whole = b"".join(pieces)
        pieces = [whole[at:to] for at, to in pairwise([*edges, len(whole)]) if at < to]
    if pieces and flips % 2:
        piece = bytearray(pieces[-1])
        piece[flips % len(piece)] ^= 1 + flips % 255
        pieces[-1] = bytes(piece)
    short, usual = Decoder(), Decoder()
    for piece in pieces:
        part = short.only_part(piece)
        expected = payloads(usual, piece)
        assert (payloads(short, piece) if part is None else [part]) == expected
    assert (short.pending, short.damage) == (usual.pending, usual.damage)


def payloads(decoder: Decoder, data: bytes) -> list[bytes] | str:
    """Return the payloads of the parts that a decoder finds, or why it finds none."""
    try:
        frames = decoder.feed(data)
    except EventStreamError as error:
        return str(error)
    return [frame.payload for frame in frames if frame.headers.get(":event-type") == PART]


def test_the_second_part_alone_takes_the_short_way() -> None:
    """A part of a length and headers that were seen is read at once, and no other frame is."""
    part = encode({":event-type": "PayloadPart"}, b"one")
    other = encode({":event-type": "Other"}, b"one")
    decoder = Decoder()
    assert decoder.only_part(part) is None
    decoder.feed(part)
    assert decoder.only_part(part) == b"one"
    assert decoder.only_part(encode({":event-type": "PayloadPart"}, b"and two")) == b"and two"
    assert decoder.only_part(other) is None
    assert decoder.only_part(part + part) is None
    assert decoder.only_part(part[:-1] + b"x") is None
    decoder.feed(part[:20])
    assert decoder.only_part(part) is None


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
