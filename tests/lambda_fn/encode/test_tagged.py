"""The lanes of events: each event of a stream is found, whole, wherever the bytes are cut."""

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.encode import Head, encoder_of
from lambda_fn.encode.base import VERSION, Form
from lambda_fn.encode.tagged import Tagger
from lambda_fn.errors import UpstreamFailed
from lambda_fn.events import Delta, End, Event

FILE = Path(__file__).parents[1] / "stream" / f"stored_v{VERSION}.json"
PLAIN = json.loads(FILE.read_text(encoding="utf-8"))
FORMS: tuple[Form, ...] = ("chat_stream", "responses_stream", "completion_stream")
AWKWARD = 'data: {"a":1}\n\n: b\n\nevent: c\ndata: [DONE]'


def stream(form: Form, text: str = AWKWARD) -> bytes:
    """Return a stream whose text looks like events, with a heartbeat in it."""
    head, stored = msgspec.json.decode(PLAIN[form][0], type=tuple[Head, list[Event]])
    delta = Delta(msgspec.Raw(msgspec.json.encode({"content": text})), tokens=1)
    events = [stored[0], delta, *(event for event in stored[1:] if type(event) is not Delta)]
    assert type(events[-1]) is End
    encoder = encoder_of(head)
    return encoder.begin() + encoder.heartbeat() + encoder.encode(events)


def objects(data: bytes) -> list[object]:
    """Return the objects of a stream, line by line as clients read it."""
    lines = [line.removeprefix(b"data: ") for line in data.splitlines() if line[:6] == b"data: "]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


@pytest.mark.parametrize("form", FORMS)
@given(
    cuts=st.lists(st.integers(0, 5_000), max_size=8),
    name=st.from_regex(r"[A-Za-z0-9_.-]{1,256}", fullmatch=True),
)
def test_events(form: Form, cuts: list[int], name: str) -> None:
    """The events are those of the stream with the name of the lane, however the bytes are cut."""
    data = stream(form)
    tagger, found = Tagger(name), []
    places = sorted({0, *(cut % len(data) for cut in cuts), len(data)})
    for start, end in pairwise(places):
        found += tagger.feed(data[start:end])
    tagged = [json.loads(event.data) for event in found]
    assert tagged == [{**event, "stream_id": name} for event in objects(data)]  # type: ignore[dict-item]


def test_byte_by_byte() -> None:
    """A stream that comes byte by byte has the events of the whole one."""
    data = stream("responses_stream")
    whole, single = Tagger("a").feed(data), Tagger("a")
    assert [event for byte in data for event in single.feed(bytes([byte]))] == whole


def test_without_a_lane() -> None:
    """Events of the default lane are those of the stream, byte for byte, with their names."""
    data = stream("responses_stream")
    tagged = Tagger(None).feed(data)
    plain = data.replace(b": keepalive\n\n", b"").removesuffix(b"data: [DONE]\n\n")
    assert b"".join(b"%bdata: %b\n\n" % event for event in tagged) == plain
    assert {json.loads(event.data)["type"] for event in tagged} == {
        event.line.decode().removeprefix("event: ").rstrip() for event in tagged
    }


@pytest.mark.parametrize("form", FORMS)
def test_failure(form: Form) -> None:
    """The event of a failure has the name of its lane."""
    head, _ = msgspec.json.decode(PLAIN[form][0], type=tuple[Head, list[Event]])
    encoder = encoder_of(head)
    tagged = Tagger("a").feed(encoder.begin() + (encoder.fail(UpstreamFailed("m")) or b""))
    assert json.loads(tagged[-1].data)["stream_id"] == "a"
