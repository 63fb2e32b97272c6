"""Events that wait for a post: how they are joined and shortened."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.socket.gateway.gather import MAX_MESSAGE, joined, shortened

TEXT = "response.output_text.delta"


def delta(text: str, number: int, *, item: str = "i", kind: str = TEXT, **more: Any) -> bytes:
    """Return a delta."""
    fields = {"type": kind, "item_id": item, "output_index": 0, "content_index": 0}
    return json.dumps({**fields, "delta": text, "sequence_number": number, **more}).encode()


OTHER = b'{"type":"response.output_text.done","text":"a","sequence_number":9}'
events = st.lists(
    st.one_of(
        st.tuples(st.text(max_size=5), st.sampled_from("ij"), st.sampled_from(["a", "b"])),
        st.none(),
    ),
    max_size=12,
)


def accumulated(found: list[bytes]) -> list[tuple[Any, ...]]:
    """Return what a client makes of events: runs of text by item and lane, and other events."""
    result: list[tuple[Any, ...]] = []
    for data in found:
        event = json.loads(data)
        if event["type"] != TEXT:
            result.append((event["type"],))
            continue
        key = (event["item_id"], event["stream_id"])
        if result and result[-1][0] == key:
            result[-1] = (key, result[-1][1] + event["delta"])
        else:
            result.append((key, event["delta"]))
    return result


@given(events)
def test_a_client_gets_the_same(found: list[tuple[str, str, str] | None]) -> None:
    """Joined deltas are the same text for a client, in fewer events, with the last number."""
    given_events = [
        OTHER if one is None else delta(one[0], number, item=one[1], stream_id=one[2])
        for number, one in enumerate(found)
    ]
    result = joined(given_events)
    assert accumulated(result) == accumulated(given_events)
    assert len(result) == len(accumulated(given_events))
    last = [json.loads(one)["sequence_number"] for one in given_events if one != OTHER]
    if last:
        numbers = [json.loads(one)["sequence_number"] for one in result if one != OTHER]
        assert numbers[-1] == last[-1]
    assert joined(result) == result


def test_what_deltas_carry() -> None:
    """Log probabilities are kept in their order; padding of several deltas is dropped."""
    one = delta("a", 1, logprobs=[{"token": "a"}], obfuscation="xyz")
    two = delta("b", 2, logprobs=[{"token": "b"}], obfuscation="x")
    [whole] = map(json.loads, joined([one, two]))
    assert whole["logprobs"] == [{"token": "a"}, {"token": "b"}]
    assert "obfuscation" not in whole
    assert json.loads(joined([one])[0]) == json.loads(one)


LONG = "x" * MAX_MESSAGE
RESPONSE = {"id": "resp_1", "status": "completed", "usage": {"total_tokens": 3}}


def short(event: dict[str, Any]) -> dict[str, Any]:
    """Return a shortened event. It fits into a message."""
    data = shortened(json.dumps(event).encode())
    assert len(data) <= MAX_MESSAGE
    found: dict[str, Any] = json.loads(data)
    return found


def test_a_short_event_is_unchanged() -> None:
    """An event that fits is sent byte by byte."""
    assert shortened(OTHER) is OTHER


def test_the_echoes_go_first() -> None:
    """What repeats the request goes before any output does, and the event is not marked."""
    output = [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]
    response = {**RESPONSE, "instructions": LONG, "tools": [{"a": LONG}], "output": output}
    found = short({"type": "response.completed", "response": response})
    assert found["response"] == {**RESPONSE, "instructions": None, "tools": [], "output": output}
    assert "sluice" not in found


def test_then_the_output() -> None:
    """An output that does not fit goes, and the event says so."""
    response = {**RESPONSE, "output": [{"type": "message", "content": [{"text": LONG}]}]}
    found = short({"type": "response.completed", "response": response, "sequence_number": 5})
    assert found["response"] == {**RESPONSE, "output": []}
    assert (found["sluice"], found["sequence_number"]) == ({"truncated": True}, 5)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.done", "text": LONG},
        {"type": "response.function_call_arguments.done", "arguments": LONG},
        {"type": "response.content_part.done", "part": {"type": "output_text", "text": LONG}},
        {"type": "response.output_item.done", "item": {"id": "i", "content": [{"text": LONG}]}},
        {"type": "response.output_item.done", "item": {"id": "i", "arguments": LONG}},
    ],
)
def test_other_long_events(event: dict[str, Any]) -> None:
    """A text that the deltas have told already goes from the events that repeat it."""
    found = short({**event, "item_id": "i"})
    assert found["sluice"] == {"truncated": True}
    assert (found["type"], found["item_id"]) == (event["type"], "i")
