"""The streams of other servers -> events: how they are framed.

`recordings/` has one response in the form of each server. `recordings/README.md` says which of them
a server has sent, and which were written after its source.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import dialects, limits
from lambda_fn.events import Delta, End, Event, Failure, Finish, Start, Usage
from tests.support.model_answers import answer, chunk, decode, sse

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Recording:
    """A recorded response of a server, and the counts that it must have."""

    file: str
    dialect: str
    reason: str
    prompt: int
    completion: int
    counted: int
    """Completion tokens according to the deltas alone."""
    text: str = "Grüße an 🚰"
    reasoning: int = 0

    @property
    def data(self) -> bytes:
        """The bytes of the response."""
        if "/" in self.file:  # a real one
            recorded = json.loads((FOLDER / f"{self.file}.json").read_text(encoding="utf-8"))
            return str(recorded["body"]).encode()
        return (FOLDER / f"{self.file}.txt").read_bytes()


RECORDINGS = [
    Recording("vllm-0.32.0/length.stream", "openai", "length", 16, 5, 5, "Once upon a time there"),
    Recording("vllm-tools", "openai", "tool_calls", 90, 17, 17, "", reasoning=5),
    Recording("sglang", "openai", "stop", 12, 6, 5),
    Recording("lmi-chat", "lmi", "stop", 12, 6, 2),
    Recording("lmi-rolling-chat", "lmi", "length", 0, 3, 3),
    Recording("lmi-inputs", "lmi-inputs", "length", 12, 3, 3),
    Recording("lmi-rolling-inputs", "lmi-inputs", "length", 0, 3, 3),
    Recording("tgi-chat", "tgi", "stop", 12, 6, 2),
    Recording("tgi-generate", "tgi", "stop", 12, 4, 4),
]
every = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda it: it.file)


def plain(events: list[Event]) -> Any:
    """Return events in a form that can be compared, with raw JSON decoded."""
    return msgspec.json.decode(msgspec.json.encode(events))


def deltas(events: list[Event]) -> list[dict[str, Any]]:
    """Return the delta objects."""
    return [msgspec.json.decode(event.delta) for event in events if isinstance(event, Delta)]


@every
def test_whole_answer(recording: Recording) -> None:
    """Each server's response becomes the same few events, with the server's own token counts."""
    events = decode(recording.dialect, recording.data)
    kinds = [type(event) for event in events]
    assert (kinds[0], kinds[-3:]) == (Start, [Finish, Usage, End])
    assert set(kinds[1:-3]) == {Delta}
    assert events[-3:] == [
        Finish(recording.reason),
        Usage(recording.prompt, recording.completion, reasoning_tokens=recording.reasoning),
        End(),
    ]
    assert sum(event.tokens for event in events if isinstance(event, Delta)) == recording.counted
    said = deltas(events)
    assert not any("role" in delta or None in delta.values() for delta in said)
    assert "".join(delta.get("content", "") for delta in said) == recording.text


def test_tool_calls_and_reasoning_are_passed_on() -> None:
    """Members of a delta beside its text reach the client as the server wrote them."""
    said = deltas(decode("openai", RECORDINGS[1].data))
    assert said[0] == {"reasoning_content": "I need the weather."}
    assert said[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": ""}
    assert said[2] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "Köln"}'}}]}


def test_usage_beside_each_chunk_is_counted_before_the_end() -> None:
    """With usage in each chunk, a truncated response is metered by the server's own counts."""
    events = decode("openai", RECORDINGS[0].data.partition(b'"length"')[0])
    assert events[0] == Start(prompt_tokens=16)
    assert [event.tokens for event in events if isinstance(event, Delta)] == [1] * 4


@every
def test_byte_by_byte(recording: Recording) -> None:
    """Bytes that arrive one at a time give the same events.

    So do blank lines, comments and CRLF between them.
    """
    data = recording.data.replace(b"\n", b"\r\n\n: ping\n")
    whole = plain(decode(recording.dialect, recording.data))
    assert plain(decode(recording.dialect, data, list(range(len(data))))) == whole


@every
def test_event_by_event(recording: Recording) -> None:
    """Events that come alone and whole, as nearly all do, are those of the bytes at once."""
    data = recording.data
    ends = [at + 2 for at in range(len(data)) if data[at : at + 2] == b"\n\n"]
    assert plain(decode(recording.dialect, data, ends)) == plain(decode(recording.dialect, data))


@every
@given(data=st.data())
def test_cuts_change_nothing(recording: Recording, data: st.DataObject) -> None:
    """However the bytes are cut, the events are the same."""
    cuts = data.draw(st.lists(st.integers(0, len(recording.data)), max_size=30))
    assert plain(decode(recording.dialect, recording.data, cuts)) == plain(
        decode(recording.dialect, recording.data)
    )


@every
def test_truncation_is_never_silent(recording: Recording) -> None:
    """A truncated response ends in a failure.

    It may be cut before its finish, before the `[DONE]` of a server that sends it, or within a
    record.
    """
    data = recording.data
    last = (
        data.rindex(b"[DONE]") + 6
        if recording.dialect == "openai"
        else data.rindex(b'"finish_reason')
    )
    for length in range(last):
        end = decode(recording.dialect, data[:length])[-1]
        assert isinstance(end, Failure), data[:length]
        assert end.code == "cut"
    within = data.rindex(b"}") - 3
    assert decode(recording.dialect, data[:within])[-1] == Failure("cut", "a record has no end")


def test_finish_in_the_middle_of_a_record_is_no_finish() -> None:
    """An LMI response has no end if its last record is cut after the finish reason."""
    data = (FOLDER / "lmi-chat.txt").read_bytes()
    events = decode("lmi", data[: data.rindex(b'"stop"') + 6])
    assert isinstance(events[-1], Failure)


def test_done_without_finish_is_a_cut() -> None:
    """`[DONE]` alone does not make a response complete."""
    data = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n'
    assert decode("openai", data)[-1] == Failure("cut", "a choice has no end")
    assert decode("openai", b"data: [DONE]\n\n") == [Failure("cut", "a choice has no end")]


def test_every_choice_must_finish() -> None:
    """Two choices are counted separately, and both must finish."""
    chunk = (
        'data: {{"choices":[{{"index":{0},"delta":{1},"finish_reason":{2}}}],'
        '"usage":{{"completion_tokens":{3}}}}}\n\n'
    )
    parts = [
        (0, '{"content":"a"}', "null", 2),
        (1, '{"content":"b"}', "null", 3),
        (0, "{}", '"stop"', 2),
    ]
    data = "".join(chunk.format(*part) for part in parts).encode()
    assert decode("openai", data + b"data: [DONE]\n\n", choices=2)[-1] == Failure(
        "cut", "a choice has no end"
    )
    data += chunk.format(1, "{}", '"length"', 4).encode() + b"data: [DONE]\n\n"
    events = decode("openai", data, choices=2)
    assert events[-2:] == [Usage(prompt_tokens=0, completion_tokens=6), End()]


@pytest.mark.parametrize(
    ("dialect", "record", "code", "message"),
    [
        ("openai", ('{"error":{"message":"EngineCore died","type":"InternalServerError","param":null,"code":500}}'),
         "engine_error", "EngineCore died"),
        ("openai", ('{"object":"error","message":"bad grammar","type":"BadRequestError","param":null,"code":400}'),
         "invalid_request", "bad grammar"),
        ("tgi", '{"error":"Model is overloaded","error_type":"overloaded"}', "overloaded", "Model is overloaded"),
        ("tgi", ('{"error":{"message":"Input validation error","http_status_code":422},"error_type":"validation"}'),
         "invalid_request", "Input validation error"),
        ("lmi", '{"error": "out of memory", "code": 424}', "engine_error", "out of memory"),
        ("openai", '{"error":{"message":"This model\'s maximum context length is 8 tokens.","code":400}}',
         "context_length_exceeded", "This model's maximum context length is 8 tokens."),
        ("lmi-inputs", '{"token":{"id":1,"text":""},"generated_text":"","details":{"finish_reason":"error"}}',
         "engine_error", "The model ended the response early."),
        ("openai", '{"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}',
         "aborted", "The model ended the response early."),
    ],
)  # fmt: skip
def test_errors_within_the_stream(dialect: str, record: str, code: str, message: str) -> None:
    """Each server's form of an error ends the response with our container's code."""
    prefix = "" if dialect.startswith("lmi") else "data:"
    events = decode(dialect, f"{prefix}{record}\n\n{prefix}[DONE]\n\n".encode())
    assert events[-1] == Failure(code, message)


@pytest.mark.parametrize(
    "line",
    [
        b"data: garbage",
        b'data: {"x":1}',
        b'data: "x"',
        b'data: {"choices":5}',
        b'data: {"choices":[{"index":1,"delta":{}}]}',
        b'data: {"choices":[{"index":-1,"delta":{}}]}',
        b'data: {"choices":\r[]}',
        b'data: {"token":"x"}',
        b'data: {"choices":[{"delta":{"x":' + b"[" * 100_000,
        b'data: {"x":"' + b"x" * limits.MAX_LINE + b'"}',
    ],
    ids=range(10),
)
@pytest.mark.parametrize("dialect", ["openai", "lmi", "tgi"])
def test_garbage_is_a_failure(dialect: str, line: bytes) -> None:
    """A malformed record ends the response, and nothing after it is read."""
    events = decode(dialect, line + b"\n\n" + RECORDINGS[0].data)
    assert {type(event) for event in events[:-1]} <= {Start}
    assert events[-1] == Failure("malformed", "a record is malformed or too long")


@pytest.mark.parametrize("dialect", ["openai", "lmi", "lmi-inputs", "tgi"])
def test_endless_line_is_bounded(dialect: str) -> None:
    """A line without an end becomes a failure at the limit."""
    decoder = dialects.find(dialect).decoder(1)
    piece = b"x" * 100_000
    fed = 0
    while not (events := decoder.feed(piece)):
        fed += len(piece)
        assert fed <= limits.MAX_LINE
    assert isinstance(events[0], Failure)
    assert decoder.feed(b"data: [DONE]\n") == decoder.close() == []


@given(
    data=st.binary(max_size=200) | st.text(alphabet='{}[]":, dataDONEchoices0\n').map(str.encode)
)
@pytest.mark.parametrize("dialect", ["openai", "lmi", "lmi-inputs", "tgi"])
def test_any_bytes_end_in_something(dialect: str, data: bytes) -> None:
    """No bytes make a decoder raise. Every response ends in exactly one end or failure."""
    events = decode(dialect, data)
    assert [isinstance(event, End | Failure) for event in events].count(True) == 1
    assert isinstance(events[-1], End | Failure)


def test_tools_of_older_tgi_become_a_list() -> None:
    """A single tool call of older TGI becomes a list, as every client expects."""
    call = {"index": 0, "id": "0", "type": "function", "function": {"name": "f", "arguments": "{"}}
    chunk = {"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": call}}]}
    events = decode("tgi", f"data:{json.dumps(chunk)}\n\n".encode())
    assert deltas(events) == [{"tool_calls": [call]}]


ENDS = st.sampled_from(["\n", "\r", "\r\n"])
NOISE = st.sampled_from(
    [": ping", ":", "id: 7", "retry: 10", "x-unknown: {}", "unknown", " data: x", "event: message"]
)
TEXTS = st.text(alphabet='a é\u2028\U0001f6b0\ufeff\x85"\\\n', max_size=4)


def _text(record: Any, indent: int | None) -> str:
    return json.dumps(record, indent=indent, ensure_ascii=False)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Return an event stream of chunks, with whatever the standard allows between them."""
    records = [chunk({"content": text}) for text in draw(st.lists(TEXTS, max_size=5))]
    out = [draw(st.sampled_from(["", "\ufeff"]))]
    for record in [*records, chunk({}, "stop"), "[DONE]"]:
        indent = draw(st.sampled_from([None, 1]))  # over several data lines, or in one
        data = record if isinstance(record, str) else _text(record, indent)
        fields = [f"data:{draw(st.sampled_from(['', ' ']))}{it}" for it in data.split("\n")]
        fields[0:0] = draw(st.lists(NOISE, max_size=2))
        fields[len(fields) :] = draw(st.lists(NOISE, max_size=2))
        if draw(st.integers(0, 4)) == 0:
            fields += ["", "event: ping", 'data: {"type": "ping"}']
        end = draw(ENDS)
        out += [line + end for line in [*fields, ""]]
    return "".join(out).encode()


@given(data=streams(), cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_events_are_those_of_an_independent_parser(data: bytes, cuts: list[int]) -> None:
    """httpx-sse finds the same records, however lines end, and wherever the bytes are cut."""
    # It leaves the byte-order mark to the decoding of the text.
    response = httpx.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=data.removeprefix("\ufeff".encode()),
    )
    found = [it.data for it in EventSource(response).iter_sse() if it.event != "ping" and it.data]
    *records, done = found
    assert done == "[DONE]"
    expected = decode("openai", sse(*map(json.loads, records)))
    assert isinstance(expected[-1], End)
    assert plain(decode("openai", data, cuts)) == plain(expected)


def test_the_independent_parser_is_not_more_lenient() -> None:
    """A last event without its blank line is read, which the standard drops."""
    data = sse(chunk({"content": "a"}), chunk({}, "stop"), done=False).rstrip()
    assert answer(data, "tgi").text == "a"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbf" + sse(chunk({"content": "a"}, "stop")), "a"),
        (sse(chunk({"content": "a"}, "stop")).replace(b"\n", b"\r"), "a"),
        (sse(chunk({"content": "a"}, "stop")).replace(b"\n\n", b"\n"), "a"),
        (sse(chunk({"content": "a"}, "stop")).replace(b"data: ", b"data:"), "a"),
        (b"event: ping\ndata: pong\n\n" + sse(chunk({"content": "a"}, "stop")), "a"),
        (b"event: chunk\ndata: " + sse(chunk({"content": "a"}, "stop"))[6:], "a"),
        (b"data\n\ndata:\n\n: OPENROUTER PROCESSING\n\n" + sse(chunk({"content": "a"}, "stop")), "a"),
        (sse(chunk({"content": "a"}, "stop"), '"[DONE]"', done=False), "a"),
        (b"garbage\n<html>\n" + sse(chunk({"content": "a"}, "stop")), "a"),
        (b'data: {"choices":\ndata: [{"delta":\ndata:  {"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
         "a"),
        (sse(chunk({"content": "a"}, "stop")).replace(b'"a"', b'"a\xff"'), "a\ufffd"),
        (sse({}, "null", {"type": "ping"}, chunk({"content": "a"}, "stop"), {"type": "cost", "cost": 0.1}), "a"),
        (sse(chunk({"content": "a"}, "stop"), "[done]", done=False), "a"),
        (sse(chunk({"content": "a"}, "stop")).replace(b'"a"', b'"a\t"'), "a\t"),
        (sse(chunk({"content": "a"}, "stop")).replace(b'"a"', b'"a\\ud83d"'), "a\ufffd"),
        (sse(chunk({"content": "a"}, "stop", x=float("nan"), y=float("-inf"))), "a"),
    ],
    ids=["byte-order mark (openai/openai-python#3819)", "carriage returns", "no blank lines",
         "no space (SamSaffron/term-llm#487)", "a heartbeat of another type", "a record of another type",
         "empty data and comments", "an end in quotes", "unknown fields",
         "an event of three lines (SamSaffron/term-llm#454)", "bytes that are no UTF-8",
         "records that say nothing", "an end in small letters", "a control character in a text",
         "half of a surrogate pair", "numbers that are no JSON"],
)  # fmt: skip
def test_frames_are_read_as_the_standard_has_them(data: bytes, text: str) -> None:
    """What the standard allows, and what servers get wrong without harm, is read."""
    assert answer(data).text == text


@pytest.mark.parametrize(
    ("frame", "code", "message"),
    [
        ((b'error: {"code":400,"message":"the request exceeds the available context size. try increasing it",'
         b'"type":"invalid_request_error"}\n\ndata: [DONE]\n\n'), "context_length_exceeded",
         "the request exceeds the available context size. try increasing it"),
        (b'event: error\ndata: {"code":503,"message":"The request queue is full."}\n\n', "overloaded",
         "The request queue is full."),
        (b"event: error\ndata: CUDA out of memory\n\n", "engine_error", "CUDA out of memory"),
        (b'{"error":{"message":"died","code":500}}\n', "engine_error", "died"),
        (b'data: {"error_type":"context_length_exceeded","error_message":"too long"}\n\n', "context_length_exceeded",
         "too long"),
        (b'data: {"error": {"object":"error","message":"The request queue is full.","code":503}, "code": 503}\n\n',
         "overloaded", "The request queue is full."),
        (b'data: {"detail":"no such adapter"}\n\n', "engine_error", "no such adapter"),
    ],
    ids=["llama.cpp's field (coddy-project/coddy-agent#106)", "an event of type error", "with a text",
         "a line of JSON", "Venice (NousResearch/hermes-agent#68451)", "SGLang's full queue", "detail"],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"", sse(chunk({"content": "a"}), done=False)])
def test_errors_in_any_frame(before: bytes, frame: bytes, code: str, message: str) -> None:
    """An error ends the response with its own sentence, whatever frame it is in."""
    assert decode("openai", before + frame)[-1] == Failure(code, message)


@pytest.mark.parametrize(
    "second", [b"{}", b'{"foo":1}', b'{"choices":[{"delta":{"content":"\xff"}}]}', b"1"]
)
@pytest.mark.parametrize("cuts", [[], list(range(200))], ids=["whole", "bytewise"])
def test_no_record_of_a_list_is_read_twice(second: bytes, cuts: list[int]) -> None:
    """A list whose second element is no record, or no UTF-8, repeats nothing of its first."""
    data = sse(chunk({"role": "assistant"}), done=False)
    data += b"data: [%b,%b]\n\n" % (json.dumps(chunk({"content": "once"})).encode(), second)
    assert "".join(it["content"] for it in deltas(decode("openai", data, cuts))[:1]) == "once"
    assert str(deltas(decode("openai", data, cuts))).count("once") == 1


@every
def test_a_response_that_is_cut(recording: Recording) -> None:
    """Wherever a response is cut, it has the text so far, one finish and the counts so far."""
    for at in range(0, len(recording.data), 37):
        decoder = dialects.find(recording.dialect).decoder(1)
        events = decoder.feed(recording.data[:at])
        if any(isinstance(event, End) for event in events):
            continue
        sampled = sum(event.tokens for event in events if isinstance(event, Delta))
        events += decoder.cut("deadline")
        [finish] = [event for event in events if isinstance(event, Finish)]
        assert finish.finish_reason == ("length" if finish.ended else recording.reason)
        [usage] = [event for event in events if isinstance(event, Usage)]
        assert usage is events[-1]
        assert usage.completion_tokens in (sampled, recording.completion)
        assert decoder.feed(recording.data[at:]) == decoder.close() == decoder.cut("budget") == []


def test_a_body_that_is_no_stream_is_a_failure() -> None:
    """A text or a page in place of an answer is never an empty one."""
    for body in (
        b"Internal Server Error",
        b"<html>\n<body>Bad Gateway</body></html>",
        b"",
        b"{",
        b"[1]",
    ):
        found = decode("openai", body)
        assert [type(event) for event in found] == [Failure]
