"""Events -> the wire formats, checked with the openai package's own types."""

import json
from typing import Any

import msgspec
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from lambda_fn.encode import ChatBody, ChatStream, Head
from lambda_fn.errors import UpstreamFailed
from lambda_fn.events import NULL, Delta, End, Event, Finish, Start, Usage


def delta(content: dict[str, Any], index: int = 0, logprobs: dict[str, Any] | None = None) -> Delta:
    """Return a delta as the decoder makes it."""
    raw = NULL if logprobs is None else msgspec.Raw(json.dumps(logprobs).encode())
    return Delta(
        msgspec.Raw(json.dumps(content, ensure_ascii=False).encode()),
        index=index,
        tokens=1,
        logprobs=raw,
    )


LOGPROBS = {
    "content": [{"token": "hé", "logprob": -0.5, "bytes": [104], "top_logprobs": []}],
    "refusal": None,
}
TEXT: list[Event] = [
    Start(3),
    delta({"content": "hé"}, logprobs=LOGPROBS),
    delta({"content": "llo\n🚰"}),
    Finish("stop"),
    Usage(3, 2),
    End(),
]
TOOLS: list[Event] = [
    delta(
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                }
            ]
        }
    ),
    delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
    delta({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
    Finish("tool_calls"),
    Usage(3, 2),
    End(),
]


def stream(events: list[Event], *, choices: int = 1, include_usage: bool = False) -> list[str]:
    """Encode events. Return the data of the SSE events, which must be nothing but `data:` lines."""
    encoder = ChatStream(Head("1", 7, "m", choices, include_usage=include_usage))
    text = (encoder.begin() + encoder.encode(events)).decode()
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def chunks(events: list[Event], **options: Any) -> list[ChatCompletionChunk]:
    """Encode events and check every chunk's type. Return the chunks."""
    *data, done = stream(events, **options)
    assert done == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(line, strict=True) for line in data]


def test_stream_order() -> None:
    """A stream has role, content, finish and `[DONE]`.

    id, created and model are the same in every chunk.
    """
    found = chunks(TEXT)
    assert [chunk.choices[0].delta.content for chunk in found] == ["", "hé", "llo\n🚰", None]
    assert found[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in found] == [None, None, None, "stop"]
    assert {(chunk.id, chunk.created, chunk.model) for chunk in found} == {("chatcmpl-1", 7, "m")}
    assert found[1].choices[0].logprobs is not None
    assert found[1].choices[0].logprobs.model_dump() == LOGPROBS


def test_usage_chunk_only_when_asked() -> None:
    """With include_usage the last chunk has the usage and no choices, and all others have null.

    Without it no chunk has usage.
    """
    lines = [json.loads(line) for line in stream(TEXT, include_usage=True)[:-1]]
    assert lines[-1]["choices"] == []
    usage = lines[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 2, 5)
    assert all(line["usage"] is None for line in lines[:-1])
    assert not any("usage" in json.loads(line) for line in stream(TEXT)[:-1])


def test_several_choices() -> None:
    """Each choice has its role chunk and keeps its index."""
    texts: list[Event] = [delta({"content": "b"}, 1), delta({"content": "a"})]
    found = chunks([*texts, Finish("stop", 1), Finish("length"), End()], choices=2)
    assert [chunk.choices[0].index for chunk in found] == [0, 1, 1, 0, 1, 0]


def test_tool_call_deltas_pass_as_they_are() -> None:
    """Fragments of a tool call's arguments keep their order and their bytes."""
    calls = [chunk.choices[0].delta.tool_calls for chunk in chunks(TOOLS)]
    assert (
        "".join(call[0].function.arguments or "" for call in calls if call and call[0].function)
        == '{"a":1}'
    )


def test_chunks_are_padded_unless_that_is_declined() -> None:
    """Chunks of short tokens have one size. Without padding they have no such field."""
    said = [delta({"content": text}) for text in ("a", " word", " seventeen letter")]
    lines = stream([*said, delta({"content": " t"}, logprobs=LOGPROBS), Finish("stop")])
    assert len({len(line.encode()) for line in lines[1:4]}) == 1
    assert all("obfuscation" in json.loads(line) for line in lines)
    encoder = ChatStream(Head("1", 7, "m", obfuscate=False))
    assert b"obfuscation" not in encoder.begin() + encoder.encode(TEXT) + encoder.heartbeat()


def test_heartbeat_is_an_ordinary_chunk() -> None:
    """A heartbeat is a chunk with an empty delta."""
    encoder = ChatStream(Head("x", 1, "m"))
    chunk = ChatCompletionChunk.model_validate_json(
        encoder.heartbeat().decode().removeprefix("data: ")
    )
    assert chunk.choices[0].delta.content is None


def test_failure_in_a_stream() -> None:
    """A failure is an error object with all four keys, without `[DONE]`."""
    encoder = ChatStream(Head("x", 1, "m"))
    error = json.loads(
        encoder.fail(UpstreamFailed("cut off", code="upstream_cut")).decode().removeprefix("data: ")
    )
    assert error == {
        "error": {
            "message": "cut off",
            "type": "server_error",
            "param": None,
            "code": "upstream_cut",
        }
    }


def test_body() -> None:
    """The JSON body contains the same as the stream."""
    encoder = ChatBody(Head("x", 1, "m"))
    assert encoder.begin() == b""
    assert encoder.encode(TEXT[:3]) == b""
    body = ChatCompletion.model_validate_json(
        encoder.heartbeat() + encoder.encode(TEXT[3:]), strict=True
    )
    assert body.choices[0].message.content == "héllo\n🚰"
    assert body.choices[0].logprobs is not None
    assert body.usage is not None
    assert body.usage.total_tokens == 5


def test_body_with_tools() -> None:
    """In the JSON body tool calls are assembled, and the content beside them is null."""
    encoder = ChatBody(Head("x", 1, "m"))
    body = ChatCompletion.model_validate_json(encoder.encode(TOOLS), strict=True)
    message = body.choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    assert message.tool_calls[0].model_dump()["function"] == {"name": "f", "arguments": '{"a":1}'}


def test_body_of_wrong_deltas() -> None:
    """A delta whose content is not a text is a failure of the model."""
    encoder = ChatBody(Head("x", 1, "m"))
    wrong: dict[str, Any]
    for wrong in (
        {"content": 5},
        {"tool_calls": [{"index": "x"}]},
        {"tool_calls": [{"function": {"arguments": {}}}]},
    ):
        with pytest.raises(UpstreamFailed):
            encoder.encode([delta(wrong)])


def test_annotations_come_before_the_finish() -> None:
    """The annotations of a choice come in one chunk, which stock clients add to the message.

    A whole answer has the same.
    """
    one = {"start": 3, "end": 6, "source": 0, "url": "https://example.com/1", "title": "One"}
    two = {**one, "start": 7, "end": 10, "url": "https://example.com/2"}
    events: list[Event] = [
        delta({"content": "So [1]"}),
        delta({"annotations": [one]}),
        delta({"content": " [2]"}, 1),
        delta({"annotations": [two]}, 1),
        delta({"content": " [2]"}),
        delta({"annotations": [two]}),
        Finish("stop", 1),
        Finish("stop"),
        Usage(3, 2),
        End(),
    ]
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    found = chunks(events, choices=2)
    for chunk in found:
        state.handle_chunk(chunk)
    streamed = state.get_final_completion()
    with_them = [it.choices[0].index for it in found if "annotations" in it.model_dump_json()]
    assert with_them == [1, 0]
    encoder = ChatBody(Head("1", 7, "m", 2))
    whole = ChatCompletion.model_validate_json(encoder.encode(events), strict=True)
    for first, second in zip(streamed.choices, whole.choices, strict=True):
        assert first.message.annotations == second.message.annotations
    cited = whole.choices[0].message.annotations or []
    assert [(it.url_citation.start_index, it.url_citation.url) for it in cited] == [
        (3, "https://example.com/1"),
        (7, "https://example.com/2"),
    ]
