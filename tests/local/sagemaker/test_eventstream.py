"""Frames of the event stream, read by botocore's own decoder."""

import json
from itertools import pairwise

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from local.sagemaker.eventstream import encode, exception, payload_part
from local.sagemaker.parts import Cutter


def _decode(data: bytes, cuts: list[int]) -> list[tuple[dict[str, str], bytes]]:
    buffer = EventStreamBuffer()
    found = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        buffer.add_data(data[start:end])
        found += [(message.headers, message.payload) for message in buffer]
    return found


@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(min_value=0), max_size=6))
def test_payload_parts_survive_any_cut(payloads: list[bytes], cuts: list[int]) -> None:
    """Whatever is in the parts and however the bytes arrive, botocore reads the same payloads."""
    found = _decode(b"".join(map(payload_part, payloads)), cuts)
    assert [payload for _, payload in found] == payloads
    assert all(headers[":event-type"] == "PayloadPart" and headers[":message-type"] == "event" for headers, _ in found)


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=4), st.binary(max_size=50))
def test_any_string_headers(headers: dict[str, str], payload: bytes) -> None:
    """Header names and values of any characters are read back."""
    assert _decode(encode(headers, payload), []) == [(headers, payload)]


def test_exception_frame() -> None:
    """An exception frame names its type and carries its members as JSON."""
    ((headers, payload),) = _decode(exception("ModelStreamError", "broken", ErrorCode="StreamBroken"), [])
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] == "ModelStreamError"
    assert json.loads(payload) == {"Message": "broken", "ErrorCode": "StreamBroken"}


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers())
def test_cutter_loses_nothing(reads: list[bytes], seed: int) -> None:
    """The pieces are the bytes, none is empty, and the same seed cuts alike."""
    pieces = [list(Cutter(seed).cut(read)) for read in reads]
    assert b"".join(piece for some in pieces for piece in some) == b"".join(reads)
    assert all(piece for some in pieces for piece in some)
    cutter, again = Cutter(seed), Cutter(seed)
    assert [list(cutter.cut(read)) for read in reads] == [list(again.cut(read)) for read in reads]


def test_cutter_cuts() -> None:
    """About every fourth read is cut in two."""
    cutter = Cutter(1)
    cut = sum(len(list(cutter.cut(b"0123456789"))) == 2 for _ in range(1000))
    assert 200 < cut < 300
