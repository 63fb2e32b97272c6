"""Events -> Anthropic's messages, read by an accumulator that is as strict as its clients."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn.encode import Head, encoder_of
from lambda_fn.errors import ContextLengthExceeded, RateLimited, UpstreamFailed
from lambda_fn.events import Delta, End, Event, Finish, Start, Usage

USAGE = Usage(5, 3, cached_tokens=2, reasoning_tokens=1)


def delta(**fields: Any) -> Delta:
    """Return a delta as the decoder makes it."""
    return Delta(msgspec.Raw(json.dumps(fields).encode()), tokens=1)


def piece(index: int, arguments: str, name: str | None = None) -> Delta:
    """Return a piece of a call. The first one of a call has its name."""
    first = {"id": f"call_{index}", "type": "function"} if name else {}
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return delta(tool_calls=[{"index": index, **first, "function": function}])


def encoded(events: list[Event], form: str, *, thinking: bool = True, stops: Any = ()) -> bytes:
    """Return the bytes of a response in one go."""
    head = Head("r1", 7, "m", form=form, thinking=thinking, stops=stops)  # type: ignore[arg-type]
    encoder = encoder_of(head)
    return encoder.begin() + encoder.encode(events)


def sent(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream. The name of each is its type."""
    events = []
    for block in data.decode().split("\n\n")[:-1]:
        name, _, fields = block.partition("\n")
        events.append(json.loads(fields.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def message_of(data: bytes) -> dict[str, Any]:
    """Return the message that the events of a stream make, checking their order."""
    first, *events, changed, last = [it for it in sent(data) if it["type"] != "ping"]
    assert (first["type"], last) == ("message_start", {"type": "message_stop"})
    message: dict[str, Any] = first["message"]
    assert (message["content"], message["stop_reason"]) == ([], None)
    content, is_open, arguments = message["content"], False, ""
    for event in events:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(content)
            is_open, arguments = True, ""
            content.append(event["content_block"])
            continue
        block = content[event["index"]]
        assert is_open
        assert event["index"] == len(content) - 1
        if event["type"] == "content_block_stop":
            is_open = False
            if block["type"] == "tool_use":
                block["input"] = json.loads(arguments or "{}")
            continue
        change = event["delta"]
        if change["type"] == "input_json_delta":
            assert block["type"] == "tool_use"
            arguments += change["partial_json"]
        elif change["type"] == "signature_delta":
            block["signature"] = change["signature"]
        elif change["type"] == "citations_delta":
            assert block["type"] == "text"
            block.setdefault("citations", []).append(change["citation"])
        else:
            kind = change["type"].removesuffix("_delta")
            assert block["type"] == kind
            block[kind] += change[kind]
    assert not is_open
    return {**message, **changed["delta"], "usage": changed["usage"]}


@pytest.mark.parametrize("thinking", [True, False])
def test_every_kind_of_block(thinking: bool) -> None:
    """Thoughts, text and calls are blocks in order.

    Thoughts are left out unless the request asks for them.
    """
    events: list[Event] = [
        Start(5),
        delta(reasoning_content="Hm"),
        delta(content="So", reasoning_content="m"),
        delta(content=":"),
        piece(0, "", "f"),
        piece(0, '{"a": '),
        piece(0, "1}"),
        piece(1, "{}", "g"),
        Finish("tool_calls"),
        USAGE,
        End(),
    ]
    message = message_of(encoded(events, "messages_stream", thinking=thinking))
    assert message == json.loads(encoded(events, "messages_body", thinking=thinking))
    thought, *others = message["content"] if thinking else [None, *message["content"]]
    if thought is not None:
        assert (thought["type"], thought["thinking"]) == ("thinking", "Hmm")
        assert thought["signature"]
    assert others == [
        {"type": "text", "text": "So:"},
        {"type": "tool_use", "id": "call_0", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_1", "name": "g", "input": {}},
    ]
    assert (message["id"], message["model"], message["stop_reason"]) == ("msg_r1", "m", "tool_use")
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (3, 2)
    assert (usage["output_tokens"], usage["output_tokens_details"]) == (3, {"thinking_tokens": 1})


def test_the_size_of_a_delta_tells_little() -> None:
    """Deltas of short texts have one size on the wire."""
    texts = ["a", "é", "word", "a longer word", "thirty bytes have one size too"]
    blocks = [encoded([delta(content="x"), delta(content=it)], "messages_stream") for it in texts]
    assert len({len(block.split(b"\n\n")[-2]) for block in blocks}) == 1


def test_the_count_of_the_prompt_comes_first() -> None:
    """A stream begins with its first token, and tells the prompt's tokens then."""
    assert encoded([Start(5)], "messages_stream") == b""
    (started,) = sent(encoded([Start(5), delta(content="")], "messages_stream"))
    assert started["message"]["usage"]["input_tokens"] == 5


@pytest.mark.parametrize(
    ("finish", "refusal", "expected"),
    [
        (Finish("stop"), None, ("end_turn", None)),
        (Finish("length"), None, ("max_tokens", None)),
        (Finish("content_filter"), None, ("refusal", None)),
        (Finish("stop"), "No.", ("refusal", None)),
        (Finish("stop", stop_sequence="END"), None, ("stop_sequence", "END")),
        (Finish("stop", stop_sequence="</s>"), None, ("end_turn", None)),
        (Finish("length", stop_sequence="END"), None, ("max_tokens", None)),
        (Finish("of tomorrow"), None, ("end_turn", None)),
    ],
)
def test_stop_reasons(finish: Finish, refusal: str | None, expected: Any) -> None:
    """Each finish reason has its name. A stop sequence counts if the request has it."""
    events: list[Event] = [Start(1), delta(content="x", refusal=refusal), finish, End()]
    message = message_of(encoded(events, "messages_stream", stops=("END",)))
    assert (message["stop_reason"], message["stop_sequence"]) == expected
    assert message == json.loads(encoded(events, "messages_body", stops=("END",)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": {"b": [1, "x,', {"a": {"b": [1]}}),
        ('{"a": "}\\"", "b": tr', {"a": '}"'}),
        ('{"a', {}),
        ("", {}),
        ('{"a": 1e999}', None),
        ("[1]", {"raw_arguments": "[1]"}),
        ("no JSON", {"raw_arguments": "no JSON"}),
        ("[" * 5000, {"raw_arguments": "[" * 5000}),
    ],
)
def test_arguments_that_are_no_object(arguments: str, expected: Any) -> None:
    """A call that was cut keeps what is complete, and `input` is an object whatever came."""
    events: list[Event] = [Start(1), piece(0, arguments, "f"), Finish("length"), End()]
    body = encoded(events, "messages_body")
    content = bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["content"])
    if expected is None:
        assert arguments.encode() in content
    else:
        assert json.loads(content)[0]["input"] == expected


def test_failures() -> None:
    """A stream that fails ends in an error event, and a whole message cannot tell."""
    stream = encoder_of(Head("r1", 7, "m", form="messages_stream"))
    (error,) = sent(stream.fail(UpstreamFailed("It failed.")) or b"")
    expected = {"type": "api_error", "message": "It failed."}
    assert error == {"type": "error", "error": expected, "request_id": "req_r1"}
    (error,) = sent(stream.fail(RateLimited("Busy.")) or b"")
    assert error["error"]["type"] == "rate_limit_error"
    (error,) = sent(stream.fail(ContextLengthExceeded("9 > 8.")) or b"")
    assert error["error"]["message"] == "prompt is too long: 9 > 8."
    assert encoder_of(Head("r1", 7, "m", form="messages_body")).fail(UpstreamFailed("")) is None
    assert sent(stream.heartbeat()) == [{"type": "ping"}]


@settings(max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(["content", "reasoning_content"]), st.text())))
def test_a_text_alone_has_the_bytes_of_any_other(steps: list[tuple[str, str]]) -> None:
    """Deltas that only let a block grow take a shorter way, which changes no byte."""
    short = [delta(**{kind: text}) for kind, text in steps]
    logprobs = msgspec.Raw(b'{"content":[]}')
    long = [msgspec.structs.replace(event, logprobs=logprobs) for event in short]
    ends: list[Event] = [Finish("stop"), End()]
    assert encoded([*short, *ends], "messages_stream") == encoded([*long, *ends], "messages_stream")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("content"), st.text(max_size=3)),
        st.tuples(st.just("reasoning_content"), st.text(max_size=3)),
        st.tuples(st.integers(0, 2), st.integers(1, 4)),
    ),
    max_size=25,
)
ARGUMENTS = ['{"city": "Röm", "n": [1, 2]}', "{}", '{"text": "}{\\" ,"}']


@settings(max_examples=80)
@given(steps=STEPS)
def test_nothing_is_lost_in_any_order(steps: list[tuple[Any, Any]]) -> None:
    """However text, thoughts and pieces of calls are mixed, both forms have all of them."""
    events: list[Event] = [Start(1)]
    left = dict(enumerate(ARGUMENTS))
    begun: set[int] = set()
    for kind, what in [*steps, *((index, 99) for index in left)]:
        if isinstance(kind, str):
            events.append(delta(**{kind: what}))
            continue
        if kind not in begun:
            begun.add(kind)
            events.append(piece(kind, "", f"f{kind}"))
        if left[kind]:
            events.append(piece(kind, left[kind][:what]))
            left[kind] = left[kind][what:]
    events += [Finish("tool_calls"), End()]
    message = message_of(encoded(events, "messages_stream"))
    assert message == json.loads(encoded(events, "messages_body"))
    calls = {it["id"]: it["input"] for it in message["content"] if it["type"] == "tool_use"}
    assert calls == {f"call_{index}": json.loads(text) for index, text in enumerate(ARGUMENTS)}
    for kind, name in (("content", "text"), ("reasoning_content", "thinking")):
        texts = [block[name] for block in message["content"] if block["type"] == name]
        assert "".join(texts) == "".join(what for step, what in steps if step == kind)


@pytest.mark.parametrize("apart", [False, True])
def test_a_text_cites_its_sources(apart: bool) -> None:
    """A text block has a citation for each annotation, also one that waits for a call's end."""
    source = {"start": 3, "end": 6, "source": 1, "url": "https://example.com", "title": "One"}
    events: list[Event] = [Start(5)]
    if apart:
        events.append(piece(0, '{"a":', "f"))
    events += [delta(content="So [2]"), delta(annotations=[source, {**source, "title": ""}])]
    if apart:
        events.append(piece(0, "1}"))
    events += [Finish("stop"), USAGE, End()]
    message = message_of(encoded(events, "messages_stream"))
    assert message == json.loads(encoded(events, "messages_body"))
    block = message["content"][-1]
    citation = {
        "type": "search_result_location",
        "cited_text": "",
        "source": "https://example.com",
        "title": "One",
        "search_result_index": 1,
        "start_block_index": 0,
        "end_block_index": 0,
    }
    assert block["text"] == "So [2]"
    assert block["citations"] == [citation, {**citation, "title": None}]
