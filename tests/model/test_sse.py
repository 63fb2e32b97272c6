"""Events become lines and SSE chunks, without a server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from model.errors import EngineError, InvalidRequestError
from model.events import Delta, Event, Finish, Start, Usage, merged
from model.lines import LineEncoder
from model.sse import SseEncoder, WholeAnswer

LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
CALL = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "f", "arguments": ""}}
PART = {"index": 0, "function": {"arguments": "{}"}}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
ANSWER: list[Event] = [
    Start(3),
    Delta(0, 1, "a", logprobs=(LOGPROB,)),
    Delta(1, 2, "b\n"),
    Delta(0, 1, "é", logprobs=(LOGPROB,)),
    Delta(1, 1, tool_calls=(CALL,)),
    Delta(1, 1, tool_calls=(PART,)),
    Finish(1, "tool_calls"),
    Finish(0, "stop"),
    Usage(3, 6),
]


def sse(*, include_usage: bool = False) -> SseEncoder:
    """Return an encoder for two choices."""
    return SseEncoder("chatcmpl-1", 1_700_000_000, "m", choices=2, include_usage=include_usage)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Start(12), '{"type":"start","prompt_tokens":12}'),
        (
            Delta(0, 1, " token"),
            '{"type":"delta","index":0,"delta":{"content":" token"},"tokens":1}',
        ),
        (
            Delta(1, 2, tool_calls=(PART,)),
            '{"type":"delta","index":1,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"tokens":2}',
        ),
        (
            Delta(0, 1, "a", "why"),
            '{"type":"delta","index":0,"delta":{"reasoning_content":"why","content":"a"},"tokens":1}',
        ),
        (
            Usage(1, 5, 2),
            '{"type":"usage","prompt_tokens":1,"completion_tokens":5,"reasoning_tokens":2}',
        ),
        (
            Delta(0, 1, "a", logprobs=(LOGPROB,)),
            (
                '{"type":"delta","index":0,"delta":{"content":"a"},"tokens":1,"logprobs":{"content":[{"token":"a",'
                '"logprob":-0.5,"bytes":[97],"top_logprobs":[]}]}}'
            ),
        ),
        (Finish(0, "length"), '{"type":"finish","index":0,"finish_reason":"length"}'),
        (Usage(12, 57), '{"type":"usage","prompt_tokens":12,"completion_tokens":57}'),
    ],
)
def test_line(event: Event, line: str) -> None:
    """Every event is exactly one record of the format."""
    assert LineEncoder().event(event).decode() == line + "\n"


def test_line_ends() -> None:
    """An answer ends with an end or an error record. A heartbeat is a blank line."""
    encoder = LineEncoder()

    assert encoder.opening() == b""
    assert encoder.end() == b'{"type":"end"}\n'
    assert encoder.heartbeat() == b"\n"
    assert json.loads(encoder.error(EngineError('a "bad"\nday'))) == {
        "type": "error",
        "code": "engine_error",
        "message": 'a "bad"\\nday',
    }


@given(TEXT)
def test_line_text(text: str) -> None:
    """Any text stays in one line and is read back unchanged."""
    line = LineEncoder().event(Delta(0, 1, text))

    assert line.count(b"\n") == 1
    assert json.loads(line)["delta"]["content"] == text


@given(TEXT)
def test_sse_text(text: str) -> None:
    """Any text stays in one data line and is read back unchanged."""
    chunk = sse().event(Delta(0, 1, text))

    assert chunk.startswith(b"data: ")
    assert chunk.count(b"\n") == 2
    assert json.loads(chunk[6:])["choices"][0]["delta"]["content"] == text


@pytest.mark.parametrize("include_usage", [False, True])
def test_sse_is_openai(include_usage: bool) -> None:
    """Every chunk is valid for the types of OpenAI's own client. Only data lines are sent."""
    encoder = sse(include_usage=include_usage)
    stream = (
        encoder.opening()
        + b"".join(map(encoder.event, ANSWER))
        + encoder.heartbeat()
        + encoder.end()
    )

    blocks = stream.decode().split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks[:-1])
    chunks = [
        ChatCompletionChunk.model_validate_json(block[6:], strict=True) for block in blocks[:-2]
    ]
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {
        ("chatcmpl-1", 1_700_000_000, "m")
    }
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", "assistant"]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert [usage.total_tokens for usage in usages] == ([9] if include_usage else [])
    assert all(("usage" in json.loads(block[6:])) == include_usage for block in blocks[:-2])


def test_sse_error() -> None:
    """An error has OpenAI's four keys and is not followed by DONE."""
    body = sse().error(EngineError("no"))

    assert json.loads(body[6:])["error"] == {
        "message": "no",
        "type": "server_error",
        "param": None,
        "code": "engine_error",
    }


def test_whole() -> None:
    """The one body has every choice with its text, calls, log probabilities and reason."""
    answer = WholeAnswer("chatcmpl-1", 1_700_000_000, "m", choices=2)
    for event in ANSWER:
        answer.add(event)

    body = ChatCompletion.model_validate_json(answer.body())

    first, second = body.choices
    assert (first.message.content, first.finish_reason) == ("aé", "stop")
    assert first.logprobs is not None
    assert len(first.logprobs.content or ()) == 2
    assert (second.message.content, second.finish_reason) == ("b\n", "tool_calls")
    assert second.message.tool_calls is not None
    assert second.message.tool_calls[0].model_dump()["function"] == {"name": "f", "arguments": "{}"}
    assert second.logprobs is None
    assert body.usage is not None
    assert body.usage.total_tokens == 9


def test_whole_call_without_text() -> None:
    """If an answer only calls a tool, its content is null."""
    answer = WholeAnswer("chatcmpl-1", 1, "m", choices=1)
    for event in (Start(1), Delta(0, 1, tool_calls=(CALL,)), Finish(0, "tool_calls"), Usage(1, 1)):
        answer.add(event)

    assert json.loads(answer.body())["choices"][0]["message"]["content"] is None


def test_merged() -> None:
    """Merging joins the text of a choice and adds its token counts.

    Fragments of tool calls stay separate.
    """
    assert merged(ANSWER) == [
        Start(3),
        Delta(0, 2, "aé", logprobs=(LOGPROB, LOGPROB)),
        Delta(1, 2, "b\n"),
        Delta(1, 1, tool_calls=(CALL,)),
        Delta(1, 1, tool_calls=(PART,)),
        Finish(1, "tool_calls"),
        Finish(0, "stop"),
        Usage(3, 6),
    ]


def test_merged_keeps_reasoning_before_content() -> None:
    """Merging keeps reasoning after the content that came first."""
    events = [Delta(0, 1, "", "r"), Delta(0, 1, "c"), Delta(0, 1, "", "s")]

    assert merged(events) == [Delta(0, 2, "c", "r"), Delta(0, 1, "", "s")]


@given(st.lists(st.tuples(st.integers(0, 2), st.text()), max_size=30), st.data())
def test_merging_anywhere(parts: list[tuple[int, str]], data: st.DataObject) -> None:
    """However the deltas are batched, every choice has the same text and count."""
    events = [Delta(index, 1, text) for index, text in parts]
    cut = data.draw(st.integers(0, len(events)))

    batches = merged(events[:cut]) + merged(events[cut:])

    for index in range(3):
        said = [event for event in batches if isinstance(event, Delta) and event.index == index]
        assert "".join(event.content for event in said) == "".join(
            text for place, text in parts if place == index
        )
        assert sum(event.tokens for event in said) == sum(place == index for place, _ in parts)


def test_whole_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer in one body fails if its log probabilities exceed the memory for it.

    The error says what to do.
    """
    monkeypatch.setattr("model.sse.MAX_WHOLE", 2**20)
    answer = WholeAnswer("chatcmpl-1", 1_700_000_000, "m", choices=8)
    entry = {**LOGPROB, "top_logprobs": [LOGPROB] * 20}

    def grow() -> None:
        for number in range(8 * 4096):
            answer.add(Delta(number % 8, 1, "a", logprobs=(entry,)))

    with pytest.raises(InvalidRequestError, match="larger than 1 MiB; stream it"):
        grow()

    assert len(answer.body()) < 2**20 + 10_000
