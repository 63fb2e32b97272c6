"""WebSocket frames, however they are cut, and API Gateway's limits of them."""

import itertools
import os
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.apigateway.frames import (
    Broken,
    Close,
    Decoder,
    Ping,
    Pong,
    Received,
    Text,
    accept_key,
    close,
    message,
    pong,
)

FRAME, MESSAGE = 32_768, 131_072


def client_frame(kind: int, data: bytes, *, final: bool = True) -> bytes:
    """Return a frame of a client, which is masked."""
    size = len(data)
    head = bytes([kind | (0x80 if final else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += b"\xfe" + struct.pack("!H", size)
    else:
        head += b"\xff" + struct.pack("!Q", size)
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def received(*pieces: bytes) -> list[Received | tuple[int, str]]:
    """Return what a decoder makes of pieces, with the code and reason of what broke it."""
    decoder = Decoder()
    all_received: list[Received | tuple[int, str]] = []
    for piece in pieces:
        for one in decoder.feed(piece):
            if isinstance(one, Broken):
                return [*all_received, (one.code, one.reason)]
            all_received.append(one)
    return all_received


def test_the_handshake_of_the_rfc() -> None:
    """The answer to a handshake's key is that of RFC 6455, section 1.3."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(
    texts=st.lists(st.text(max_size=300), max_size=4),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_cuts_change_nothing(texts: list[str], cuts: list[int]) -> None:
    """However the bytes of messages, pings and a close are cut, the same is received."""
    data = b""
    for text in texts:
        encoded = text.encode()
        half = len(encoded) // 2
        data += client_frame(1, encoded[:half], final=False)
        data += client_frame(9, b"between")
        data += client_frame(0, encoded[half:])
    data += client_frame(10, b"") + client_frame(8, struct.pack("!H", 1000) + b"bye")
    at = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(at)]
    expected: list[object] = []
    for text in texts:
        expected += [Ping(b"between"), Text(text)]
    assert received(*pieces) == [*expected, Pong(), Close(1000, "bye")]
    assert received(*[data[at : at + 1] for at in range(len(data))]) == received(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05hello", 1002),
        (b"\xc1\x80", 1002),
        (b"\x83\x80", 1002),
        (b"\x09\x80", 1002),
        (b"\x89\xfe", 1002),
        (b"\x80\x80", 1002),
        (client_frame(1, b"a", final=False) + client_frame(1, b"b"), 1002),
        (client_frame(8, b"x"), 1002),
        (client_frame(8, struct.pack("!H", 1005)), 1002),
        (client_frame(1, b"\xff"), 1007),
        (client_frame(8, struct.pack("!H", 1000) + b"\xff"), 1007),
        (client_frame(2, b"\x00"), 1003),
    ],
    ids=itertools.count(),  # frames have random masks, and each process of `make test` its own
)
def test_what_breaks_the_protocol(data: bytes, code: int) -> None:
    """Bytes that are no WebSocket, and binary frames, close the connection with their code."""
    [*_, last] = received(*[data[at : at + 1] for at in range(len(data))])
    assert isinstance(last, tuple)
    assert last[0] == code


def test_the_longest_frame_and_message() -> None:
    """A frame over 32 kB and a message over 128 kB are told by their length alone, as 1009."""
    whole = client_frame(1, b"x" * FRAME)
    assert received(whole) == [Text("x" * FRAME)]
    assert received(b"\x81\xfe" + struct.pack("!H", FRAME + 1)) == [(1009, "Frame is too large")]
    assert received(b"\x81\xff" + struct.pack("!Q", 2**63)) == [(1009, "Frame is too large")]
    parts = [client_frame(1 if at == 0 else 0, b"x" * FRAME, final=False) for at in range(4)]
    assert received(*parts, client_frame(0, b"")) == [Text("x" * MESSAGE)]
    assert received(*parts, client_frame(0, b"x")) == [(1009, "Message is too large")]


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Any bytes are received or break the connection; nothing else is raised."""
    assert received(data) == received(*[data[at : at + 1] for at in range(len(data))])


def test_what_the_server_sends() -> None:
    """A server's message goes in frames of at most 32 kB; its other frames are short."""
    assert message(b"") == b"\x81\x00"
    assert message(b"x" * 200) == b"\x81\x7e\x00\xc8" + b"x" * 200
    sent = message(b"x" * (FRAME + 1))
    assert sent[:4] == b"\x01\x7e\x80\x00"
    assert sent[4 + FRAME :] == b"\x80\x01x"
    assert close(1001, "Going away") == b"\x88\x0c\x03\xe9Going away"
    assert close(1005) == b"\x88\x00"
    assert pong(b"a") == b"\x8a\x01a"
