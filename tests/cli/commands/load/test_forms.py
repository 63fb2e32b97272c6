"""The forms of the API that a load test speaks."""

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.load import FORMS as NAMES
from cli.commands.load.event_stream import Malformed
from cli.commands.load.forms import FORMS, Signs, error_code
from cli.commands.load.plan import Ask
from tests.support.lying_api import DONE, WHOLE, WORDS, chunk, event


def message(kind: str, **fields: Any) -> bytes:
    """Return one of Anthropic's events."""
    return event({"type": kind, **fields}, kind)


COMPLETION = [
    event({"choices": [{"index": 0, "text": " one", "finish_reason": None}]}),
    event({"choices": [{"index": 0, "text": " two", "finish_reason": "length"}]}),
    event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}),
    DONE,
]
MESSAGE = [
    message("message_start", message={"usage": {"input_tokens": 5, "output_tokens": 1,
                                                "cache_read_input_tokens": 2}}),
    message("ping"),
    message("content_block_delta", delta={"type": "thinking_delta", "thinking": "hm"}),
    message("content_block_delta", delta={"type": "text_delta", "text": "one"}),
    message("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{}"}),
    message("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
    message("message_stop"),
]  # fmt: skip
RESPONSE = [
    event({"type": "response.created", "response": {"status": "in_progress", "usage": None}}),
    event({"type": "response.reasoning_text.delta", "delta": "hm"}),
    event({"type": "response.output_text.delta", "delta": "one"}),
    event({"type": "response.output_text.done", "text": "one"}),
    event({"type": "response.function_call_arguments.delta", "delta": "{}"}),
    event(
        {
            "type": "response.completed",
            "response": {"status": "completed", "usage": {"input_tokens": 7, "output_tokens": 3}},
        }
    ),
]
TEXT = [b"one", b" two\x16", b"\x16", b" three"]
CASES: dict[str, tuple[str, list[bytes], list[int], Signs]] = {
    "chat": ("chat", [chunk(), *WHOLE], [6, 6, 6, 6], Signs("stop", True, 7, 4)),
    "completions": ("completions", COMPLETION, [4, 4], Signs("length", True, 7, 2)),
    "messages": ("messages", MESSAGE, [2, 3, 2], Signs("end_turn", True, 7, 3)),
    "responses": ("responses", [*RESPONSE, DONE], [2, 3, 2], Signs("completed", True, 7, 3)),
    "without a marker behind": ("responses", RESPONSE, [2, 3, 2], Signs("completed", True, 7, 3)),
    "failed": (
        "responses",
        [event({"type": "response.failed", "response": {"error": {"code": "server_error"}}})],
        [],
        Signs(error="server_error"),
    ),
    "an error event": (
        "responses",
        [event({"type": "error", "code": "c"}), event({"type": "error"})],
        [],
        Signs(error="unnamed"),
    ),
    "text": ("text", TEXT, [3, 4, 6], Signs()),
    "reasoning": (
        "chat",
        [
            event({"choices": [{"delta": {"reasoning": "abc", "reasoning_content": "abc"}}]}),
            event({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]}),
            event({"choices": [{"delta": {"tool_calls": [{"index": 0}], "refusal": "no"}}]}),
        ],
        [3, 2, 2],
        Signs(),
    ),
}


def test_the_command_line_lists_all_forms() -> None:
    """`--form` takes each form of the table."""
    assert set(NAMES) == set(FORMS)


@pytest.mark.parametrize("case", CASES)
def test_an_answer_of_each_form(case: str) -> None:
    """A reader counts the output of each chunk, and finds the signs of an end."""
    form, pieces, sizes, signs = CASES[case]
    reader = FORMS[form].reader()
    assert [size for piece in pieces for size in reader.feed(piece)] == sizes
    reader.close()
    assert reader.signs == signs


@pytest.mark.parametrize("case", CASES)
@given(places=st.lists(st.integers(0, 1200), max_size=12))
def test_cuts_do_not_matter(case: str, places: list[int]) -> None:
    """However the bytes come, the output and the signs are the same."""
    form, pieces, sizes, signs = CASES[case]
    body = b"".join(pieces)
    cuts = sorted({0, len(body), *(min(it, len(body)) for it in places)})
    reader = FORMS[form].reader()
    seen = [it for at, to in pairwise(cuts) for it in reader.feed(body[at:to])]
    assert sum(seen) == sum(sizes)
    if form != "text":  # its pieces are what comes at once
        assert seen == sizes
    reader.close()
    assert reader.signs == signs


@pytest.mark.parametrize("form", FORMS)
@given(body=st.binary(max_size=300), framed=st.booleans())
def test_any_bytes_are_read_or_malformed(form: str, body: bytes, framed: bool) -> None:
    """No bytes make a reader raise anything but Malformed."""
    reader = FORMS[form].reader()
    with suppress(Malformed):
        reader.feed(b"data: " + body.replace(b"\n", b"") + b"\n\n" if framed else body)
        reader.close()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "usage", "error", "code", "type", "message"]), inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("form", ["chat", "completions", "messages", "responses"])
@given(value=VALUES)
def test_any_json_is_read_or_malformed(form: str, value: Any) -> None:
    """No JSON value in an event makes a reader raise anything but Malformed."""
    reader = FORMS[form].reader()
    with suppress(Malformed):
        reader.feed(event(value))


@pytest.mark.parametrize(
    ("trailer", "signs"),
    [
        ({"error": {"code": "upstream_cut"}}, Signs(error="upstream_cut")),
        ({"error": {"code": None, "type": "server_error"}}, Signs(error="server_error")),
        ({"finish_reason": "length", "sluice": {"ended": "budget"}}, Signs(finish="length")),
    ],
)
def test_the_trailer_of_bare_text(trailer: dict[str, Any], signs: Signs) -> None:
    """The line behind U+001E tells how a text ended early."""
    reader = FORMS["text"].reader()
    line = b"\n\x1e" + json.dumps(trailer).encode() + b"\n"
    reader.feed(b"some" + line[:5])
    reader.feed(line[5:])
    reader.close()
    assert reader.signs == signs


def test_a_trailer_is_bounded() -> None:
    """A trailer without an end is malformed."""
    reader = FORMS["text"].reader()
    reader.feed(b"\x1e")
    with pytest.raises(Malformed, match="trailer_too_large"):
        reader.feed(b"x" * 100_000)


def test_the_events_of_a_socket() -> None:
    """Each message is an event. The code of an error is within it, as OpenAI has it there."""
    reader = FORMS["websocket"].reader()
    sizes = [reader.feed(it.removeprefix(b"data: ").rstrip()) for it in RESPONSE]
    assert [size for found in sizes for size in found] == [2, 3, 2]
    assert reader.signs == Signs("completed", True, 7, 3)
    with pytest.raises(Malformed):
        reader.feed(b"{}")
    failed = FORMS["websocket"].reader()
    assert failed.feed(b'{"type": "error", "status": 429, "error": {"code": "c"}}') == []
    assert failed.signs.error == "c"


@pytest.mark.parametrize("form", FORMS)
def test_a_request_streams_and_has_its_limit(form: str) -> None:
    """The request of each form asks for a stream of at most so many tokens."""
    body = FORMS[form].body("m", Ask("hello", 9))
    limit = body["max_output_tokens" if form in {"responses", "websocket"} else "max_tokens"]
    assert (body["model"], limit, body["stream"]) == ("m", 9, True)
    assert "hello" in json.dumps(body)
    assert ("stream_options" in body) == (form in {"chat", "completions"})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"code": "a", "type": "b"}}', "a"),
        (b'{"type": "error", "error": {"type": "overloaded_error"}}', "overloaded_error"),
        (b'{"error": {"code": 429}}', "429"),
        (b'{"error": {"code": ["x"]}}', "unnamed"),
        (b'{"error": "no"}', "unnamed"),
        (b'{"message": "no"}', ""),
        (b"<html>", ""),
        (b"[" * 100_000, ""),
        (b'{"error": {"code": "' + b"x" * 100 + b'"}}', "x" * 64),
    ],
)
def test_the_code_of_an_error(body: bytes, code: str) -> None:
    """A code is the error's code, else its type, at most 64 characters long."""
    assert error_code(body) == code


@pytest.mark.parametrize(
    ("form", "pieces"),
    [
        ("chat", [*WHOLE, WORDS[0]]),
        ("chat", [*WHOLE, DONE]),
        ("messages", [*MESSAGE, MESSAGE[-1]]),
        ("responses", [*RESPONSE, RESPONSE[-1]]),
    ],
)
def test_what_follows_the_end_is_malformed(form: str, pieces: list[bytes]) -> None:
    """No event may follow the end marker."""
    reader = FORMS[form].reader()
    with pytest.raises(Malformed, match="events_after_the_end"):
        reader.feed(b"".join(pieces))
