"""Wire numbers: a stream that is resumed after any of them goes on with the same bytes."""

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.encode import Encoder, Head, encoder_of
from lambda_fn.encode.base import VERSION, Form
from lambda_fn.encode.numbered import (
    GAP,
    NUMBERED,
    NumberedEvents,
    NumberedResponse,
    NumberedText,
)
from lambda_fn.errors import Cancelled
from lambda_fn.event_log import error_of, failed_by
from lambda_fn.events import Delta, Event, Failed, Finish

FILES = Path(__file__).parents[1] / "stream"
PLAIN = json.loads((FILES / f"stored_v{VERSION}.json").read_text(encoding="utf-8"))
GOLDEN_FILE = Path(__file__).with_name(f"numbered_v{VERSION}.json")
GOLDEN = json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))
"""The bytes of each form with numbers, and those of a fenced end behind the first four events."""
DONE = b"data: [DONE]\n\n"
LOST = b',"sluice":{"log":"lost"}'
CANCELLED = failed_by(Cancelled("m", code="c"))


def response(form: Form) -> tuple[Head, list[Event]]:
    """Return the stored head and events of a form."""
    head, events = msgspec.json.decode(PLAIN[form][0], type=tuple[Head, list[Event]])
    return msgspec.structs.replace(head, numbered=True), events


def encoded(encoder: Encoder, batches: Iterable[list[Event]]) -> bytes:
    """Return the bytes of a stream that comes in these batches, as a delivery sends them."""
    out: list[bytes] = []
    begun = False
    for events in batches:
        data = encoder.encode(events)
        out.append(data if begun else encoder.begin() + data)
        begun = True
        if events and type(events[-1]) is Failed:
            out.append(encoder.fail(error_of(events[-1])) or b"")
    return b"".join(out)


def whole(head: Head, events: list[Event], after: int | None = None) -> bytes:
    """Return the bytes of a stream in one batch."""
    return encoded(encoder_of(head, after), [events])


def numbers(data: bytes) -> list[int]:
    """Return the numbers of the chunks of a stream."""
    blocks = [it.partition(b"data: ")[2] for it in data.split(b"\n\n") if it]
    chunks = [json.loads(it) for it in blocks if it != b"[DONE]"]
    return [it["sequence_number"] if "type" in it and "sequence_number" in it else it["sluice"]["n"]
            for it in chunks]  # fmt: skip


def fenced(events: list[Event], at: int) -> list[Event]:
    """Return the events of a log whose producer was fenced at a number."""
    return [*events[:at], msgspec.structs.replace(CANCELLED, fenced=at)]


@pytest.mark.parametrize("form", NUMBERED)
def test_numbered_bytes_are_those_of_the_version(form: Form) -> None:
    """What was logged has the bytes that it had. A change needs a new version and a new file."""
    head, events = response(form)
    assert whole(head, events).decode() == GOLDEN[form][0]
    assert whole(head, fenced(events, 4)).decode() == GOLDEN[form][1]


@pytest.mark.parametrize("form", NUMBERED)
def test_only_numbers_are_added(form: Form) -> None:
    """Without its numbers, a stream has the bytes of one that is not logged."""
    head, events = response(form)
    data = whole(head, events)
    for number in range(40):
        data = data.replace(b',"sluice":{"n":%d}' % number, b"")
    assert data.decode() == PLAIN[form][1]


@pytest.mark.parametrize("form", [form for form in NUMBERED if form != "plain_text"])
def test_resumed_at_every_number(form: Form) -> None:
    """After any number, a resumed stream is the tail of the whole, however it was batched."""
    head, events = response(form)
    data = whole(head, events)
    blocks = data.split(b"\n\n")[:-1]
    assert numbers(data) == list(range(len(numbers(data))))
    assert encoded(encoder_of(head), [[event] for event in events]) == data
    for number in range(-1, len(numbers(data)) + 2):
        tail = b"".join(block + b"\n\n" for block in blocks[number + 1 :])
        expected = tail if tail or not data.endswith(DONE) else DONE
        assert whole(head, events, number) == expected
        assert encoded(encoder_of(head, number), [[event] for event in events]) == expected


CITED = b'{"annotations":[{"start":0,"end":1,"source":0,"url":"https://a.example/","title":"A"}]}'
DELTAS = st.sampled_from(
    [
        Delta(msgspec.Raw(b'{"content":"a"}'), 0, 1),
        Delta(msgspec.Raw(b'{"content":"}\\n\\n"}'), 0, 1),
        Delta(msgspec.Raw(b'{"content":"a"}'), 0, 1, msgspec.Raw(b'{"content":[]}')),
        Delta(msgspec.Raw(b'{"reasoning_content":"some longer thought"}'), 0, 1),
        Delta(msgspec.Raw(CITED)),
        Delta(msgspec.Raw(b'{"annotations":[]}')),
        Delta(msgspec.Raw(b"{}")),
        Finish("stop"),
    ]
)


@given(events=st.lists(DELTAS, min_size=1, max_size=7), after=st.none() | st.integers(0, 7))
def test_deltas_that_come_at_once_have_the_numbers_of_single_ones(
    events: list[Event], after: int | None
) -> None:
    """Several tokens of a chat have the bytes that they have one by one, and so has any end."""
    head, _ = response("chat_stream")
    for at in range(len(events) + 1):
        at_once, single = encoder_of(head, after), encoder_of(head, after)
        assert encoded(at_once, [events]) == encoded(single, [[event] for event in events])
        end = fenced(events, at)[-1:]
        for encoder in (at_once, single):
            encoder.encode(end)
        failures = [encoder.fail(error_of(CANCELLED)) for encoder in (at_once, single)]
        assert failures[0] == failures[1]


def test_text_is_resumed_at_every_byte() -> None:
    """After any number of bytes, resumed text is the tail, in the middle of a character too."""
    head, events = response("plain_text")
    data = whole(head, events)
    for count in range(len(data) + 2):
        assert whole(head, events, count) == data[count:]
        assert encoded(encoder_of(head, count), [[event] for event in events]) == data[count:]


@pytest.mark.parametrize("form", NUMBERED)
def test_a_fenced_end_is_above_all_that_was_seen(form: Form) -> None:
    """A client that has seen more than the log has still gets the end, under the same number.

    It is the same for a live client, whose encoder has had the events that no log has.
    """
    head, events = response(form)
    for at in range(len(events)):
        log = fenced(events, at)
        stored = whole(head, log)
        live = encoder_of(head)
        seen = encoded(live, [events[:-1]])
        end = live.encode(log[-1:]) + (live.fail(error_of(CANCELLED)) or b"")
        assert stored.endswith(end)
        if form == "plain_text":
            assert whole(head, log, len(seen)) == end
            continue
        [number] = numbers(end)
        before = numbers(stored)[:-1]
        assert number == (before[-1] if before else -1) + GAP
        for known in numbers(seen):
            assert whole(head, log, known).endswith(end)
        assert whole(head, log, number) == (DONE if form == "responses_stream" else b"")


@pytest.mark.parametrize("form", NUMBERED)
def test_an_end_by_the_producer_follows(form: Form) -> None:
    """An error by the producer itself has the next number."""
    head, events = response(form)
    data = whole(head, [*events[:3], CANCELLED])
    if form != "plain_text":
        assert numbers(data) == list(range(len(numbers(data))))


def test_a_response_that_this_service_ended() -> None:
    """The number and the reason of the end stand in one member."""
    finish = Finish("length", 0, "deadline")
    forms: tuple[Form, ...] = ("chat_stream", "completion_stream")
    for form in forms:
        head = msgspec.structs.replace(response(form)[0], choices=1)
        data = encoder_of(head).encode([finish])
        block = json.loads(data.partition(b"data: ")[2])
        assert block["sluice"].keys() == {"n", "ended"}
        assert data.count(b'"sluice"') == 1


def test_text_that_looks_like_the_member_is_not_changed() -> None:
    """A model that writes the member itself is numbered as any other."""
    head, _ = response("chat_stream")
    words = msgspec.json.encode({"content": '"sluice":{"n":7}} data: [DONE]\n\n'})
    data = encoder_of(head).encode([Delta(msgspec.Raw(words))])
    block = json.loads(data.removeprefix(b"data: "))
    assert block["choices"][0]["delta"] == json.loads(words)
    assert block["sluice"] == {"n": 2}


@pytest.mark.parametrize("form", NUMBERED)
def test_heartbeats_and_notices_have_no_number(form: Form) -> None:
    """Between two chunks, a heartbeat and the notice of a lost log change no number."""
    head, events = response(form)
    plain = msgspec.structs.replace(head, numbered=msgspec.UNSET)
    encoder = encoder_of(head)
    first = encoder.encode(events[:3])
    assert encoder.heartbeat() == encoder_of(plain).heartbeat()
    assert isinstance(encoder, NumberedEvents | NumberedResponse | NumberedText)
    notice = encoder.lost()
    if form in ("plain_text", "responses_stream"):
        assert notice == b""
    else:
        assert json.loads(notice.partition(b"data: ")[2])["sluice"] == {"log": "lost"}
    data = encoder.begin() + first + encoder.encode(events[3:])
    if form == "responses_stream":  # whose next event has it
        assert data.count(LOST) == 1
    assert data.replace(LOST, b"") == whole(head, events)


def test_whole_bodies_are_not_numbered() -> None:
    """A head of one JSON value has no numbers, and `after` leaves nothing out."""
    for form in ("chat_body", "completion_body", "messages_body", "responses_body"):
        head, events = msgspec.json.decode(PLAIN[form][0], type=tuple[Head, list[Event]])
        assert encoded(encoder_of(head, 3), [events]).decode() == PLAIN[form][1]
