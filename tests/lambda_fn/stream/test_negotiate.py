"""The other forms of a response: text completions, and bare text."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from openai.types import Completion

from lambda_fn import limits
from lambda_fn.encode import Encoder, encoder_of
from lambda_fn.errors import InvalidRequest, UpstreamFailed
from lambda_fn.events import NULL, Delta, End, Event, Finish, Start, Usage
from lambda_fn.settings import Model
from lambda_fn.stream.negotiate import (
    ReadRequest,
    read_chat,
    read_completion,
    read_message,
    read_response,
)

TEXT = {"accept": "text/plain"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PROMPT = {"model": "m", "prompt": "Once"}


def delta(text: str, index: int = 0, tokens: list[str] | None = None) -> Delta:
    """Return a delta of text, with log probabilities for these tokens."""
    entry = {
        "logprob": -0.5,
        "bytes": None,
        "top_logprobs": [{"token": "x", "logprob": -0.5, "bytes": None}],
    }
    logprobs = NULL
    if tokens is not None:
        logprobs = msgspec.Raw(
            json.dumps({"content": [{"token": token, **entry} for token in tokens]}).encode()
        )
    return Delta(
        msgspec.Raw(json.dumps({"content": text}).encode()),
        index=index,
        tokens=1,
        logprobs=logprobs,
    )


def encoder_for(read: ReadRequest) -> Encoder:
    """Return the encoder of a request's response."""
    return encoder_of(
        read.head(response_id="1", created=7, fingerprint=None, max_bytes=limits.MAX_WHOLE)
    )


def answer(read: ReadRequest, events: list[Event]) -> bytes:
    """Encode a response."""
    encoder = encoder_for(read)
    return encoder.begin() + encoder.encode(events)


def completion(change: dict[str, Any]) -> ReadRequest:
    """Parse a completion request."""
    return read_completion(json.dumps({**PROMPT, **change}).encode(), {})


def chunks(data: bytes) -> list[Completion]:
    """Return the events of a stream, each parsed by the openai package's own type.

    In that type the finish reason is never null. In OpenAI's own streams it is null until the end.
    """
    *blocks, done, rest = data.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    going_on = '"finish_reason":null'
    for block in blocks:
        last = block.replace(going_on, '"finish_reason":"stop"').removeprefix("data: ")
        Completion.model_validate_json(last, strict=True)
    return [Completion.construct(**json.loads(block.removeprefix("data: "))) for block in blocks]


WHOLE: list[Event] = [Start(2), delta(" upon"), delta(" a"), Finish("length"), Usage(2, 2), End()]


def test_streamed() -> None:
    """A stream has text, the finish reason, the usage if requested, and `[DONE]`, under one id."""
    found = chunks(
        answer(completion({"stream": True, "stream_options": {"include_usage": True}}), WHOLE)
    )
    assert [chunk.choices[0].text for chunk in found[:-1]] == [" upon", " a", ""]
    assert [chunk.choices[0].finish_reason for chunk in found[:-1]] == [None, None, "length"]
    assert (found[-1].choices, found[-1].usage and found[-1].usage.total_tokens) == ([], 4)
    assert {(chunk.id, chunk.object) for chunk in found} == {("cmpl-1", "text_completion")}


def test_whole() -> None:
    """The response in one body has the same content."""
    found = Completion.model_validate_json(answer(completion({}), WHOLE), strict=True)
    assert (found.choices[0].text, found.choices[0].finish_reason) == (" upon a", "length")
    assert found.usage is not None


@pytest.mark.parametrize("stream", [True, False])
def test_echo_and_choices(stream: bool) -> None:
    """With `echo` every choice begins with the prompt."""
    events: list[Event] = [
        delta(" b", 1),
        delta(" a"),
        Finish("stop"),
        Finish("stop", 1),
        Usage(1, 2),
        End(),
    ]
    data = answer(completion({"n": 2, "echo": True, "stream": stream}), events)
    found = chunks(data) if stream else [Completion.model_validate_json(data, strict=True)]
    texts = {0: "", 1: ""}
    for chunk in found:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == {0: "Once a", 1: "Once b"}


@pytest.mark.parametrize("stream", [True, False])
def test_logprobs(stream: bool) -> None:
    """Log probabilities have the shape of text completions, with offsets into the text."""
    events: list[Event] = [
        delta("ab", tokens=["a", "b"]),
        delta("c", tokens=["c"]),
        Finish("stop"),
        End(),
    ]
    data = answer(completion({"logprobs": 1, "stream": stream}), events)
    found = (
        [chunk.choices[0].logprobs for chunk in chunks(data)]
        if stream
        else [Completion.model_validate_json(data, strict=True).choices[0].logprobs]
    )
    offsets = [offset for piece in found if piece for offset in piece.text_offset or []]
    assert offsets == [0, 1, 2]
    assert found[0] is not None
    assert found[0].top_logprobs is not None
    assert found[0].top_logprobs[0] == {"x": -0.5}


def test_prompt_is_a_users_message() -> None:
    """The prompt becomes a user's message.

    Without `max_tokens` the response has at most sixteen tokens.
    """
    for prompt in ("Once", ["Once"]):
        request = completion({"prompt": prompt}).request
        [message] = request.messages
        assert (type(message).__name__, getattr(message, "content", None)) == ("User", "Once")
        assert request.max_tokens == 16
    assert completion({"max_tokens": 99, "logprobs": 2}).request.max_tokens == 99


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"best_of": 0}, "best_of"),
        ({"echo": 1}, "echo"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 129}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"stop": ["a"] * 33}, "stop"),
        ({"stream_options": {}}, "stream_options"),
        ({"prompt": "a\0"}, "prompt"),
        ({"sluice": {"buffer": "page"}}, "sluice.buffer"),
    ],
    ids=range(19),
)
def test_wrong_completions(change: dict[str, Any], param: str) -> None:
    """The error names an invalid or unsupported field."""
    with pytest.raises(InvalidRequest) as refusal:
        completion(change)
    assert refusal.value.param == param


MESSAGES = {**CHAT, "max_tokens": 5}
RESPONSE = {"model": "m", "input": "hi"}
SOURCE = {"id": "1", "url": "https://example.com"}
READERS: list[tuple[Callable[..., object], dict[str, Any], dict[str, str]]] = [
    (read_chat, CHAT, {}),
    (read_chat, {**CHAT, "stream": True}, {}),
    (read_chat, CHAT, TEXT),
    (read_completion, PROMPT, {}),
    (read_message, MESSAGES, {}),
    (read_response, RESPONSE, {}),
]


@pytest.mark.parametrize(("reader", "body", "headers"), READERS, ids=range(len(READERS)))
@pytest.mark.parametrize(
    ("extensions", "param", "hint"),
    [
        ({"redatc": ["email"]}, "sluice.redatc", "Did you mean 'sluice.redact'?"),
        ({"Redact": ["email"]}, "sluice.Redact", "Did you mean 'sluice.redact'?"),
        ({"x": 1, "durable": True}, "sluice.x", "Known: buffer, durable, cache, "),
        ({"": 1}, "sluice.", "Known: "),
        ({"a`b' - at `$.c`": 1}, "sluice.a`b' - at `$.c`", "Known: "),
        (
            {"sources": [SOURCE, {**SOURCE, "id": "2", "titel": "x"}]},
            "sluice.sources[1].titel",
            "Did you mean 'sluice.sources[1].title'?",
        ),
        ({"x" * 500_000: 1}, "sluice." + "x" * 193, "Known: "),
    ],
    ids=range(7),
)
def test_unknown_extensions(
    reader: Callable[..., object],
    body: dict[str, Any],
    headers: dict[str, str],
    extensions: dict[str, Any],
    param: str,
    hint: str,
) -> None:
    """A misspelt extension is refused by its name: what it asks for would silently not happen."""
    with pytest.raises(InvalidRequest) as refusal:
        reader(json.dumps({**body, "sluice": extensions}).encode(), headers)
    assert (refusal.value.param, refusal.value.code) == (param, "unknown_parameter")
    assert hint in refusal.value.message


def test_text() -> None:
    """`Accept: text/plain` gets the text alone, without Sluice's marks."""
    read = read_chat(json.dumps(CHAT).encode(), TEXT)
    events: list[Event] = [
        Start(1),
        delta("Grüße\x1e"),
        delta("\x16 🚰\n"),
        Finish("stop"),
        Usage(1, 2),
        End(),
    ]
    assert answer(read, events).decode() == "Grüße 🚰\n"


def test_empty_text() -> None:
    """A streamed body cannot be empty, so a response without text is a line end."""
    assert (
        answer(read_chat(json.dumps(CHAT).encode(), TEXT), [Finish("stop"), Usage(1, 0), End()])
        == b"\n"
    )


def test_text_that_breaks_off() -> None:
    """The trailer line is the last one. It is a record separator and the error object."""
    encoder = encoder_for(read_chat(json.dumps(CHAT).encode(), TEXT))
    data = (
        encoder.encode([delta("Half")])
        + encoder.heartbeat()
        + (encoder.fail(UpstreamFailed("m")) or b"")
    )
    text, mark, trailer = data.decode().partition("\n\x1e")
    assert (text.replace("\x16", ""), mark) == ("Half", "\n\x1e")
    assert json.loads(trailer)["error"]["code"] == "upstream_error"


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("text/plain", True),
        ("text/plain; charset=utf-8, */*;q=0.1", True),
        ("TEXT/PLAIN", True),
        ("*/*", False),
        ("application/json, text/plain, */*", False),
        ("text/event-stream", False),
        ("", False),
        ("text/plain, */*", False),
        ("*/*, text/plain", False),
        ("text/*", False),
        ("text/plain;q=0, */*", False),
        ("text/plain;q=0.9, */*;q=0.8", True),
        ("text/plain;q=0.5, application/json", False),
        ("text/plain, application/json;q=0.5", True),
        ("text/plain, text/event-stream", False),
        ("text/plain, text/html", True),
        ("text/plain;q=0", False),
        ("text/plain;q=nonsense", False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_accept(accept: str, text: bool, stream: bool) -> None:
    """A caller that prefers text to JSON and events gets text; one that takes all alike does not.

    Axios and stock SDKs accept JSON. Some clients send `text/plain, */*` with everything.
    """
    asked = {**CHAT, "stream": stream}
    encoder = encoder_for(read_chat(json.dumps(asked).encode(), {"accept": accept}))
    assert encoder.content_type.startswith("text/plain") == text


@pytest.mark.parametrize(
    "change",
    [{"n": 2}, {"logprobs": True}, {"tools": [{"type": "function", "function": {"name": "f"}}]}],
)
def test_what_text_cannot_hold(change: dict[str, Any]) -> None:
    """A field that bare text cannot express is rejected by name."""
    with pytest.raises(InvalidRequest) as refusal:
        read_chat(json.dumps({**CHAT, **change}).encode(), TEXT)
    assert refusal.value.param == next(iter(change))


MODEL = Model(endpoint="e", context_tokens=100)


def test_where_buffering_comes_from() -> None:
    """The body or a header requests buffering. A response in one body has none."""
    body = json.dumps({**CHAT, "stream": True}).encode()
    assert read_chat(body, {}).finishing() is None
    assert read_chat(body, {"x-sluice-buffer": "Word"}).finishing() is not None
    both = json.dumps({**CHAT, "stream": True, "sluice": {"buffer": "none"}}).encode()
    assert read_chat(both, {"x-sluice-buffer": "word"}).finishing() is None
    assert read_chat(json.dumps(CHAT).encode(), {"x-sluice-buffer": "word"}).finishing() is None
    with pytest.raises(InvalidRequest, match="x-sluice-buffer"):
        read_chat(body, {"x-sluice-buffer": "page"})
