"""Frames of the event stream, read with botocore's own decoder."""

import json
from itertools import pairwise

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from local.sagemaker.eventstream import encode, exception, payload_part


def _decode(data: bytes, cuts: list[int]) -> list[tuple[dict[str, str], bytes]]:
    buffer = EventStreamBuffer()
    messages = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        buffer.add_data(data[start:end])
        messages += [(message.headers, message.payload) for message in buffer]
    return messages


@given(
    st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(min_value=0), max_size=6)
)
def test_payload_parts_survive_any_cut(payloads: list[bytes], cuts: list[int]) -> None:
    """Any parts are read by botocore as the same payloads, at any cuts of the bytes."""
    messages = _decode(b"".join(map(payload_part, payloads)), cuts)
    assert [payload for _, payload in messages] == payloads
    assert all(
        headers[":event-type"] == "PayloadPart" and headers[":message-type"] == "event"
        for headers, _ in messages
    )


@given(
    st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=4),
    st.binary(max_size=50),
)
def test_any_string_headers(headers: dict[str, str], payload: bytes) -> None:
    """Header names and values of any characters are read back."""
    assert _decode(encode(headers, payload), []) == [(headers, payload)]


def test_exception_frame() -> None:
    """An exception frame has its type, and its members as JSON."""
    ((headers, payload),) = _decode(
        exception("ModelStreamError", "broken", ErrorCode="StreamBroken"), []
    )
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] == "ModelStreamError"
    assert json.loads(payload) == {"Message": "broken", "ErrorCode": "StreamBroken"}
