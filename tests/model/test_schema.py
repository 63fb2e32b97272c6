"""Parsing of requests: any bytes become a request or an InvalidRequestError.

They raise no other exception.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engines import prompt_bounds
from model.engines.forced_call import CallReader
from model.engines.llama_cpp_chunks import guiding, request_body
from model.errors import InvalidRequestError
from model.schema import CancelRequest, ChatRequest, TokensRequest, parse_chat, parse_invocation

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        *ChatRequest.model_fields,
        "role",
        "content",
        "type",
        "function",
        "name",
        "arguments",
        "parameters",
        "schema",
        "cancel",
        "v",
    ]
)
SHAPED = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)
MESSAGE = {"role": "user", "content": "a"}


def checked(body: bytes) -> ChatRequest | CancelRequest | TokensRequest:
    """Return the request with its schemas checked."""
    asked = parse_invocation(body)
    if isinstance(asked, ChatRequest):
        asked.check_schemas()
    return asked


def accepted(body: bytes) -> ChatRequest | CancelRequest | TokensRequest | None:
    """Return the request, or None if it was rejected.

    The error must be the container's own, and it must be possible to send it.
    """
    try:
        return checked(body)
    except InvalidRequestError as error:
        refusal = error
    assert len(refusal.body()) < 16_000
    assert json.loads(refusal.body())["error"]["message"].isprintable()
    return None


@given(st.binary(max_size=300))
def test_bytes(body: bytes) -> None:
    """Bytes without meaning are rejected."""
    assert accepted(body) is None


@given(SHAPED)
def test_values(value: Any) -> None:
    """Values of every kind at every place are a request or are rejected."""
    accepted(json.dumps(value).encode())


@given(st.dictionaries(FIELDS, SHAPED, max_size=4))
def test_fields(fields: dict[str, Any]) -> None:
    """An accepted request becomes a body for the engine, or its bounds reject it.

    There is no other exception.
    """
    request = accepted(json.dumps({"messages": [MESSAGE], **fields}).encode())
    if isinstance(request, ChatRequest):
        with contextlib.suppress(InvalidRequestError):
            prompt_bounds.check(request, 4096, 5)
            guiding(request_body(request))


@given(VALUES)
def test_schemas(schema: Any) -> None:
    """The same holds for any schema: of an answer, of a required tool, and of an optional one."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    for more in (
        {"response_format": form},
        {"tools": tools},
        {"tools": tools, "tool_choice": "required"},
    ):
        request = accepted(json.dumps({"messages": [MESSAGE], **more}).encode())
        if isinstance(request, ChatRequest):
            with contextlib.suppress(InvalidRequestError):
                guiding(request_body(request))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"messages":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"messages":[{"role":"user","content":"a"}],"seed":' + b"9" * 5000 + b"}",
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"sluice":{"v":1,"cancel":"' + b"x" * 1000 + b'"}}',
        b'{"' + b"k" * 1_000_000 + b'":1}',
        b"\xff\xfe\x00",
    ],
)
def test_worst_bodies(body: bytes) -> None:
    """Bodies made to hurt a parser are rejected, with a short error."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_chat(body)

    assert len(caught.value.body()) < 16_000


@given(st.lists(st.text(max_size=20), max_size=20))
def test_calls(texts: list[str]) -> None:
    """Any text of a model in place of a call is parsed into fragments or nothing."""
    reader = CallReader()
    for text in texts:
        for piece in reader.feed(text):
            assert piece["index"] == 0


@pytest.mark.parametrize(
    ("field", "made"),
    [
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 200_000}]},
        ),
        ("messages", {"messages": [{"role": "user", "content": [1] * 4000}] * 500}),
        ("messages", {"messages": [MESSAGE] * 200_000}),
        ("x", {"messages": [MESSAGE], "x": [[]] * 500_000}),
        (
            "messages.0.content",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 4097}]},
        ),
        ("messages.0.content", {"messages": [{"role": "user", "content": [1] * 100_000}]}),
        ("messages.0", {"messages": [1] * 100_000}),
        (
            "messages.0.tool_calls",
            {"messages": [{"role": "assistant", "tool_calls": [1] * 100_000}]},
        ),
        ("tools", {"messages": [MESSAGE], "tools": [1] * 100_000}),
        ("stop", {"messages": [MESSAGE], "stop": [1] * 100_000}),
        (
            "logit_bias",
            {"messages": [MESSAGE], "logit_bias": {f"a{number}": "x" for number in range(100_000)}},
        ),
    ],
)
def test_many_values(field: str, made: dict[str, Any]) -> None:
    """A body of very many values is rejected in the time of some decodings of it.

    It makes no difference whether the values are valid.
    """
    body = json.dumps(made).encode()
    with pytest.raises(InvalidRequestError) as caught:
        checked(body)

    assert caught.value.param is None or caught.value.param.startswith(field)
    assert _seconds(lambda: accepted(body)) < 20 * _seconds(lambda: json.loads(body))


def test_many_values_in_strings() -> None:
    """Text in a string that looks like values does not count as values."""
    text = '[{,"\\' * 50_000
    request = parse_chat(json.dumps({"messages": [{"role": "user", "content": text}]}).encode())
    assert request.messages[0].text == text


def _seconds(work: Callable[[], object]) -> float:
    """Return the least CPU time of three runs, in seconds."""
    took = []
    for _ in range(3):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)
