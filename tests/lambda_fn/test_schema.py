"""What is refused of a request, and how."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import Control, container_body, parse_chat

USER = {"role": "user", "content": "hi"}
GOOD: dict[str, Any] = {"model": "m", "messages": [USER]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user", "content": 1}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": False, "stream_options": {}}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"n": 9}, "n"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tools": {}}, "tools"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, Any], param: str) -> None:
    """A wrong field is a 400 whose `param` is its path."""
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(json.dumps({**GOOD, **change}).encode())
    assert refusal.value.param == param
    assert refusal.value.status == 400


def test_missing_model_is_named() -> None:
    """A missing field is named too."""
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(b'{"messages":[{"role":"user","content":"x"}]}')
    assert refusal.value.param == "model"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"model":"\xff"}',
        b'{"model":"\\ud800"}',
        b'{"x":' + b"[" * 200_000,
        b"nul\x00",
        b"[1]",
        b'""',
    ],
    ids=range(9),
)
def test_what_is_no_json_object(body: bytes) -> None:
    """Malformed, mistyped or very deep JSON is a 400."""
    with pytest.raises(InvalidRequest):
        parse_chat(body)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_politely(body: bytes) -> None:
    """No bytes raise anything but a refusal."""
    with pytest.raises(InvalidRequest):
        parse_chat(body)


def test_unknown_fields_are_tolerated_and_not_passed_on() -> None:
    """Fields of tomorrow's clients do no harm, and the container sees only what was checked."""
    request = parse_chat(
        json.dumps({**GOOD, "sluice": {"cancel": "x"}, "store": True, "stop": ["a"], "seed": 0}).encode()
    )
    body = json.loads(container_body(request, Control(request_id="r", deadline_ms=5, max_prompt_tokens=9)))
    assert body == {
        "model": "m",
        "messages": [USER],
        "stop": ["a"],
        "seed": 0,
        "sluice": {"v": 1, "request_id": "r", "deadline_ms": 5, "max_prompt_tokens": 9},
    }


def test_one_name_for_the_limit() -> None:
    """The container knows one name of the token limit, whichever the client used."""
    for name in ("max_tokens", "max_completion_tokens"):
        request = parse_chat(json.dumps({**GOOD, name: 7}).encode())
        body = json.loads(container_body(request, Control(request_id="r", deadline_ms=5, max_prompt_tokens=9)))
        assert body["max_tokens"] == 7
        assert "max_completion_tokens" not in body
