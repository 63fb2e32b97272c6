"""Events -> OpenAI's responses, read by a reader that is as strict as their clients."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn.encode import Head, encoder_of, responses
from lambda_fn.encode.numbered import GAP
from lambda_fn.errors import (
    APIError,
    Cancelled,
    ContextLengthExceeded,
    InsufficientQuota,
    RateLimited,
    ResponseTooLarge,
    UpstreamFailed,
)
from lambda_fn.events import NULL, Delta, End, Event, Failed, Finish, Start, Usage
from lambda_fn.schema.responses import asked, parse_responses
from tests.support.response_events import check_response, events_of, response_of

USAGE = Usage(5, 3, cached_tokens=2, reasoning_tokens=1)
REQUEST: dict[str, Any] = {
    "model": "m",
    "input": "Hi",
    "instructions": "Be brief.",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
    "metadata": {"a": "b"},
    "user": "u",
}
ECHOES = asked(parse_responses(json.dumps(REQUEST).encode())).echoes
ENTRY = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


def delta(logprobs: Any = None, tokens: int = 1, **fields: Any) -> Delta:
    """Return a delta as the decoder makes it."""
    raw = NULL if logprobs is None else msgspec.Raw(json.dumps(logprobs).encode())
    return Delta(msgspec.Raw(json.dumps(fields).encode()), tokens=tokens, logprobs=raw)


def piece(index: int, arguments: str, name: str | None = None, call_id: str = "") -> Delta:
    """Return a piece of a call. The first one of a call has its name."""
    first = {"id": call_id or f"call_{index}", "type": "function"} if name else {}
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return delta(tool_calls=[{"index": index, **first, "function": function}])


def head(form: str, **options: Any) -> Head:
    """Return the head of a response to `REQUEST`."""
    return Head("r1", 7, "m", form=form, echoes=ECHOES, **options)  # type: ignore[arg-type]


def encoded(events: list[Event], form: str = "responses_stream", **options: Any) -> bytes:
    """Return the bytes of a response in one go."""
    encoder = encoder_of(head(form, **options))
    return encoder.begin() + encoder.encode(events)


def both(events: list[Event], **options: Any) -> dict[str, Any]:
    """Return a response, which is the same streamed and whole."""
    response = response_of(encoded(events, **options))
    whole = json.loads(encoded(events, "responses_body", **options))
    check_response(whole)
    assert response == whole
    return response


EVERY: list[Event] = [
    Start(5),
    delta(reasoning_content="Hm"),
    delta(content="So", reasoning_content="m"),
    delta(content=":"),
    delta(refusal="No."),
    piece(0, "", "f"),
    piece(0, '{"a": '),
    piece(0, "1}"),
    piece(1, "{}", "g"),
    Finish("tool_calls"),
    USAGE,
    End(9),
]


@pytest.mark.parametrize("summary", [False, True])
def test_every_kind_of_item(summary: bool) -> None:
    """Reasoning, a message and calls are items in order. Reasoning stands where it was asked."""
    response = both(EVERY, summary=summary)
    text = {"type": "output_text", "text": "So:", "annotations": [], "logprobs": []}
    thought: dict[str, Any] = {"id": "rs_r1_0", "type": "reasoning", "status": "completed"}
    if summary:
        thought["summary"] = [{"type": "summary_text", "text": "Hmm"}]
    else:
        thought |= {"summary": [], "content": [{"type": "reasoning_text", "text": "Hmm"}]}
    call = {"type": "function_call", "status": "completed"}
    assert response["output"] == [
        thought,
        {
            "id": "msg_r1_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [text, {"type": "refusal", "refusal": "No."}],
        },
        {**call, "id": "fc_r1_2", "call_id": "call_0", "name": "f", "arguments": '{"a": 1}'},
        {**call, "id": "fc_r1_3", "call_id": "call_1", "name": "g", "arguments": "{}"},
    ]
    assert (response["id"], response["created_at"], response["completed_at"]) == ("resp_r1", 7, 9)
    assert response["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 8,
    }


def test_a_response_repeats_its_request() -> None:
    """What the request said, and the defaults of the rest, stand in every response."""
    response = both([Start(1), delta(content="x"), Finish("stop"), USAGE, End(9)])
    tool = {**REQUEST["tools"][0], "description": None, "strict": None}
    assert response["tools"] == [tool]
    for name in ("instructions", "tool_choice", "metadata", "user"):
        assert response[name] == REQUEST[name]
    for name, value in {
        "background": False,
        "store": False,
        "previous_response_id": None,
        "max_output_tokens": None,
        "service_tier": "default",
        "truncation": "disabled",
        "temperature": 1.0,
        "top_logprobs": 0,
    }.items():
        assert response[name] == value


@pytest.mark.parametrize(
    ("finish", "status", "reason", "ended"),
    [
        (Finish("stop"), "completed", None, None),
        (Finish("tool_calls"), "completed", None, None),
        (Finish("of tomorrow"), "completed", None, None),
        (Finish("length"), "incomplete", "max_output_tokens", None),
        (Finish("content_filter"), "incomplete", "content_filter", None),
        (Finish("length", ended="deadline"), "incomplete", "max_output_tokens", "deadline"),
        (Finish("length", ended="budget"), "incomplete", "max_output_tokens", "budget"),
    ],
)
def test_how_responses_end(finish: Finish, status: str, reason: str | None, ended: Any) -> None:
    """A response that was cut is incomplete, and so is its last item. `sluice` tells more."""
    response = both([Start(1), delta(reasoning_content="Hm"), delta(content="x"), finish, End(9)])
    assert response["status"] == status
    assert response["incomplete_details"] == (reason and {"reason": reason})
    assert [item["status"] for item in response["output"]] == ["completed", status]
    assert response["completed_at"] == (9 if status == "completed" else None)
    assert response.get("sluice") == (ended and {"ended": ended})
    assert response["usage"]["total_tokens"] == 3  # of the deltas, if nothing else tells


@pytest.mark.parametrize(
    ("events", "output"),
    [
        ([Finish("stop")], ["message"]),
        ([delta(reasoning_content="Hm"), Finish("stop")], ["reasoning", "message"]),
        ([piece(0, "", "f"), Finish("tool_calls")], ["function_call"]),
        ([Finish("length")], []),
        ([delta(reasoning_content="Hm"), Finish("length")], ["reasoning"]),
        ([delta(content=""), Finish("stop")], ["message"]),
    ],
)
def test_a_response_without_a_text(events: list[Event], output: list[str]) -> None:
    """A model that ends without a text or a call has said an empty message."""
    response = both([Start(1), *events, USAGE, End(9)])
    assert [item["type"] for item in response["output"]] == output
    if output == ["reasoning"]:
        assert response["output"][0]["status"] == "incomplete"


def test_log_probabilities() -> None:
    """Each delta has those of its text, and the ends have all. Bytes of a cut character count."""
    entries = [{**ENTRY, "token": token} for token in ("a", "b1", "b2", "c")]
    logprobs = [{"content": [entry]} for entry in entries]
    events: list[Event] = [
        delta(reasoning_content="Hm", logprobs={"content": [ENTRY]}),
        delta(content="a", logprobs=logprobs[0]),
        delta(content="", logprobs=logprobs[1]),
        delta(content="é", logprobs=logprobs[2]),
        delta(content="", logprobs=logprobs[3]),
        delta(content="d", logprobs={"content": None}),
        Finish("stop"),
        USAGE,
        End(9),
    ]
    (_, message) = both(events)["output"]
    assert message["content"][0]["logprobs"] == entries
    sent = [it for it in events_of(encoded(events)) if it["type"] == "response.output_text.delta"]
    assert [(it["delta"], it["logprobs"]) for it in sent] == [
        ("a", entries[:1]),
        ("é", entries[1:3]),
        ("d", entries[3:]),
    ]


def test_log_probabilities_at_the_end_of_a_text() -> None:
    """Those of tokens without a text come when the text ends."""
    events: list[Event] = [
        delta(content="a"),
        delta(content="", logprobs={"content": [ENTRY]}),
        piece(0, "{}", "f"),
        Finish("tool_calls"),
        End(9),
    ]
    message, call = both(events)["output"]
    assert message["content"][0]["logprobs"] == [ENTRY]
    assert call["type"] == "function_call"


def test_many_log_probabilities_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a bound the ends of a stream have none, and every delta still has its own."""
    monkeypatch.setattr(responses, "MAX_REPEATED_LOGPROBS", 200)
    texts = [delta(content="a", logprobs={"content": [ENTRY]}) for _ in range(9)]
    stream = encoded([*texts, Finish("stop"), End(9)])
    (message,) = response_of(stream)["output"]
    assert message["content"][0]["logprobs"] == []
    sent = [it for it in events_of(stream) if it["type"] == "response.output_text.delta"]
    assert [it["logprobs"] for it in sent] == [[ENTRY]] * 9
    (message,) = json.loads(encoded([*texts, Finish("stop"), End(9)], "responses_body"))["output"]
    assert message["content"][0]["logprobs"] == [ENTRY] * 9


def test_the_size_of_a_delta_tells_little() -> None:
    """Deltas of short texts have one size on the wire, unless the request asks for no padding."""
    texts = ["a", "é", "word", "a longer word", "thirty bytes have one size too"]
    for obfuscate in (True, False):
        blocks = [encoded([delta(content=it)], obfuscate=obfuscate) for it in texts]
        sizes = {len(block.split(b"\n\n")[-2]) for block in blocks}
        assert len(sizes) == (1 if obfuscate else len(texts))
    assert b"obfuscation" not in encoded([delta(content="a")], obfuscate=False)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UpstreamFailed("It failed."), "server_error", "It failed."),
        (RateLimited("Busy."), "rate_limit_exceeded", "Busy."),
        (InsufficientQuota("Spent."), "rate_limit_exceeded", "Spent."),
        (ContextLengthExceeded("9 > 8: 'max_tokens'."), "invalid_prompt", None),
    ],
)
def test_a_failure_ends_a_stream(error: APIError, code: str, message: str | None) -> None:
    """A stream that fails ends in one event, which has what there is of the output."""
    encoder = encoder_of(head("responses_stream"))
    begun: list[Event] = [delta(reasoning_content="Hm"), delta(content="So"), delta(content=":")]
    data = encoder.begin() + encoder.encode(begun) + encoder.heartbeat() + encoder.fail(error)  # type: ignore[operator]
    response = response_of(data)
    assert (response["status"], response["usage"]) == ("failed", None)
    expected = {"code": code, "message": message or "9 > 8: 'max_output_tokens'."}
    assert response["error"] == expected
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert response["output"][1]["content"][0]["text"] == "So:"
    assert encoder_of(head("responses_body")).fail(error) is None


def test_a_call_that_fails_is_as_far_as_it_came() -> None:
    """The arguments of a call that broke off are those that came."""
    encoder = encoder_of(head("responses_stream"))
    data = encoder.begin() + encoder.encode([piece(0, '{"a', "f")])
    response = response_of(data + (encoder.fail(UpstreamFailed("")) or b""))
    assert [it["arguments"] for it in response["output"]] == ['{"a']


def test_a_cancelled_response() -> None:
    """A response that is cancelled has no output and no error, as OpenAI's."""
    encoder = encoder_of(head("responses_stream"))
    data = encoder.begin() + encoder.encode([delta(content="So")])
    response = response_of(data + (encoder.fail(Cancelled("Stopped.")) or b""))
    assert (response["status"], response["output"], response["error"]) == ("cancelled", [], None)


def test_heartbeats_have_no_number() -> None:
    """A heartbeat is a comment in a stream, and a space before one object."""
    assert encoder_of(head("responses_stream")).heartbeat() == b": keepalive\n\n"
    assert encoder_of(head("responses_body")).heartbeat() == b" "


def test_a_whole_response_is_bounded() -> None:
    """A response that is not streamed has at most the size that its head allows."""
    encoder = encoder_of(head("responses_body", max_bytes=100))
    with pytest.raises(ResponseTooLarge):
        encoder.encode([delta(content="x" * 200)])


def test_calls_have_ids_of_their_own() -> None:
    """A server that names no call, or two alike, does not make two items with one id."""
    events: list[Event] = [
        piece(0, "{}", "f", "same"),
        piece(1, "{}", "g", "same"),
        delta(tool_calls=[{"index": 2, "function": {"name": "h", "arguments": "{}"}}]),
        Finish("tool_calls"),
        End(9),
    ]
    ids = [item["call_id"] for item in both(events)["output"]]
    assert ids[0] == "same"
    assert len(set(ids)) == 3
    assert all(ids)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["content", "reasoning_content", "refusal"]), st.text(max_size=3)
        ),
        st.tuples(st.integers(0, 2), st.integers(1, 4)),
    ),
    max_size=25,
)
ARGUMENTS = ['{"city": "Röm", "n": [1, 2]}', "{}", '{"text": "}{\\" ,"}']
TEXTS = {
    "content": ("message", "output_text", "text"),
    "refusal": ("message", "refusal", "refusal"),
    "reasoning_content": ("reasoning", "reasoning_text", "text"),
}


@settings(max_examples=80)
@given(steps=STEPS, finish=st.sampled_from(["stop", "length", "tool_calls"]), summary=st.booleans())
def test_nothing_is_lost_in_any_order(
    steps: list[tuple[Any, Any]], finish: str, summary: bool
) -> None:
    """However texts, reasoning and pieces of calls are mixed, both forms have all of them."""
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
    output = both([*events, Finish(finish), End(9)], summary=summary)["output"]
    assert all(item["status"] == "completed" for item in output[:-1])
    calls = {it["call_id"]: it["arguments"] for it in output if it["type"] == "function_call"}
    assert calls == {f"call_{index}": text for index, text in enumerate(ARGUMENTS)}
    for kind, (item_type, part_type, name) in TEXTS.items():
        if summary and item_type == "reasoning":
            part_type = "summary_text"
        parts = [
            part
            for item in output
            if item["type"] == item_type
            for part in [*item.get("content", []), *item.get("summary", [])]
        ]
        found = "".join(part[name] for part in parts if part["type"] == part_type)
        assert found == "".join(what for step, what in steps if step == kind)


@settings(max_examples=80)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["content", "reasoning_content"]), st.text())),
    options=st.fixed_dictionaries(
        {"obfuscate": st.booleans(), "summary": st.booleans(), "numbered": st.booleans()}
    ),
)
def test_a_text_alone_has_the_bytes_of_any_other(
    steps: list[tuple[str, str]], options: dict[str, Any]
) -> None:
    """Deltas that only let a part grow take a shorter way, which changes no byte."""
    short: list[Event] = [delta(None, 1, **{kind: text}) for kind, text in steps]
    logprobs = msgspec.Raw(b'{"content":[]}')
    long: list[Event] = [msgspec.structs.replace(it, logprobs=logprobs) for it in short]
    ends: list[Event] = [Finish("stop"), End(9)]
    first, second = (
        encoder.begin() + encoder.encode([*deltas, *ends])
        for deltas in (short, long)
        for encoder in [encoder_of(Head("%d", 7, "m", form="responses_stream", **options))]
    )
    assert first == second


def resumed(events: list[Event], after: int | None, **options: Any) -> bytes:
    """Return what a client that has the events up to a number gets."""
    encoder = encoder_of(head("responses_stream", numbered=True, **options), after)
    return encoder.begin() + b"".join(encoder.encode([event]) for event in events)


@pytest.mark.parametrize("options", [{}, {"queued": True}])
def test_a_stream_is_resumed_behind_any_number(options: dict[str, Any]) -> None:
    """A client that has the events up to a number gets those behind it, however many there are."""
    whole = encoded(EVERY, **options)
    assert resumed(EVERY, None, **options) == whole
    blocks = whole.split(b"\n\n")[:-2]
    for number in range(len(blocks) + 2):
        rest = b"".join(block + b"\n\n" for block in blocks[number + 1 :])
        assert resumed(EVERY, number, **options) == rest + b"data: [DONE]\n\n"


def test_a_response_is_queued_until_its_first_event() -> None:
    """A client is told that it is queued, and that it is in progress once anything comes."""
    encoder = encoder_of(head("responses_stream", numbered=True, queued=True))
    begun = events_of(encoder.begin() + encoder.heartbeat())
    assert [it["type"] for it in begun] == ["response.created", "response.queued"]
    assert [it["response"]["status"] for it in begun] == ["queued", "queued"]
    later = encoder.encode(EVERY[:1]) + b"".join(encoder.encode([it]) for it in EVERY[1:])
    assert later.count(b"event: response.in_progress\n") == 1
    assert later.startswith(b"event: response.in_progress\n")
    plain = response_of(encoded(EVERY))
    assert response_of(encoded(EVERY, queued=True)) == plain


def test_a_queued_response_may_end_without_running() -> None:
    """One that is cancelled in the queue never says that it is in progress."""
    encoder = encoder_of(head("responses_stream", numbered=True, queued=True))
    data = encoder.begin() + encoder.encode([Failed("cancelled", "m")])
    data += encoder.fail(Cancelled("m")) or b""
    assert [it["type"].removeprefix("response.") for it in events_of(data)] == [
        *("created", "queued", "failed"),
    ]


def test_an_end_that_somebody_else_wrote_has_a_number_above_all() -> None:
    """A live client may have seen numbers that are in no log. The last one is above them."""
    encoder = encoder_of(head("responses_stream", numbered=True), 3)
    events: list[Event] = [*EVERY[:4], Failed("unavailable", "It broke off.", fenced=4)]
    data = encoder.begin() + encoder.encode(events)
    before = int(data.split(b'"sequence_number":')[-1].split(b",")[0])
    last = json.loads((encoder.fail(UpstreamFailed("m")) or b"").decode().split("data: ")[1])
    assert last["sequence_number"] == before + GAP
    assert last["response"]["output"] == []  # as it is for a live client, who had more


def test_a_lost_log_is_told() -> None:
    """The next event of a response whose log is lost says so, and only that one."""
    encoder: Any = encoder_of(head("responses_stream", numbered=True))
    encoder.begin()
    assert encoder.lost() == b""
    assert encoder.heartbeat() == b": keepalive\n\n"
    data = encoder.encode([delta(content="a"), delta(content="b")])
    assert data.count(b'"sluice":{"log":"lost"}') == 1
    assert b'"sluice":{"log":"lost"}' in data.split(b"\n\n")[0]


def test_a_text_cites_its_sources() -> None:
    """An annotation follows its marker, with the offsets of the text that it is in."""
    source = {"start": 3, "end": 6, "source": 0, "url": "https://example.com", "title": "One"}
    later = {**source, "start": 10, "end": 13}
    events: list[Event] = [
        Start(5),
        delta(content="So [1]."),
        delta(annotations=[source]),
        piece(0, "{}", "f"),
        delta(content="So [1]"),
        delta(annotations=[later]),
        Finish("stop"),
        USAGE,
        End(9),
    ]
    data = encoded(events)
    added = [it for it in events_of(data) if it["type"].endswith("annotation.added")]
    citation = {"type": "url_citation", "url": "https://example.com", "title": "One"}
    assert [(it["annotation_index"], it["annotation"]) for it in added] == [
        (0, {**citation, "start_index": 3, "end_index": 6})
    ] * 2
    whole = json.loads(encoded(events, "responses_body"))
    check_response(whole)
    parts = [part for item in whole["output"] for part in item.get("content", ())]
    assert [part["annotations"] for part in parts] == [[added[0]["annotation"]]] * 2


def test_a_citation_that_waited_for_a_call_needs_its_text() -> None:
    """A citation whose text is not open any more is left out, also behind a call."""
    source = {"start": 0, "end": 3, "source": 0, "url": "https://example.com", "title": "One"}
    events: list[Event] = [
        delta(content="[1]"),
        piece(0, '{"a":', "f"),
        delta(annotations=[source]),
        piece(0, "1}"),
        Finish("tool_calls"),
        End(9),
    ]
    message, call = both(events)["output"]
    assert message["content"][0]["annotations"] == []
    assert call["arguments"] == '{"a":1}'
