"""What each kind of server gets of the parameters beyond OpenAI's."""

import json
from typing import Any

import pytest

from lambda_fn import dialects
from lambda_fn.dialects import samplers
from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import ChatRequest, Control, parse_chat
from lambda_fn.schema.anthropic import parse_messages, translate
from lambda_fn.schema.extras import NEUTRAL
from tests.support.bad_requests import USER, body
from tests.support.parameter_table import LISTS

CONTROL = Control(request_id="r", deadline_ms=5, max_prompt_tokens=9, caller="k")
PLAIN = {"messages", "stream", "stream_options"}


def sent(dialect: str, **change: Any) -> dict[str, Any]:
    """Return the members of the server's body that a plain request does not have."""
    found = dialects.find(dialect)
    request = parse_chat(body(change))
    found.check(request)
    members: dict[str, Any] = json.loads(found.body(request, CONTROL))
    return {name: value for name, value in members.items() if name not in PLAIN}


NAMES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"top_k": 0}, {"top_k": -1}, {"top_k": -1}),
    ({"repeat_penalty": 1.5}, {"repetition_penalty": 1.5}, {"repetition_penalty": 1.5}),
    ({"no_stop_trim": True}, {"include_stop_str_in_output": True}, {"no_stop_trim": True}),
    (
        {"guided_choice": ["a.b", "c - d"]},
        {
            "structured_outputs": {"choice": ["a.b", "c - d"]},
            "guided_choice": ["a.b", "c - d"],
        },
        {"regex": r"(a\.b|c - d)"},
    ),
    (
        {"regex": "^a+$"},
        {"structured_outputs": {"regex": "a+"}, "guided_regex": "a+"},
        {"regex": "a+"},
    ),
    (
        {
            "messages": [USER, {"role": "assistant", "content": "I"}],
            "continue_final_message": True,
        },
        {"continue_final_message": True, "add_generation_prompt": False},
        {"continue_final_message": True},
    ),
]
"""A request, and what vLLM and SGLang get."""


@pytest.mark.parametrize(("asked", "vllm", "sglang"), NAMES)
def test_names_of_servers(
    asked: dict[str, Any], vllm: dict[str, Any], sglang: dict[str, Any]
) -> None:
    """Servers get their own names, and one that may be vLLM or SGLang gets both."""
    assert sent("vllm", **asked) == sent("lmi", **asked) == vllm
    assert sent("sglang", **asked) == sglang
    assert sent("openai", **asked) == vllm | sglang


BEGUN = [USER, {"role": "assistant", "content": "Once"}]
MESSAGE = {"model": "m", "max_tokens": 9, "messages": BEGUN}


@pytest.mark.parametrize("dialect", dialects.DIALECTS)
@pytest.mark.parametrize(
    "request_",
    [
        parse_chat(body({"messages": BEGUN, "continue_final_message": True})),
        parse_chat(
            body(
                {
                    "messages": BEGUN,
                    "continue_final_message": True,
                    "add_generation_prompt": False,
                }
            )
        ),
        translate.asked(parse_messages(json.dumps(MESSAGE).encode())).chat,
    ],
    ids=["chat", "chat, as vLLM asks for it", "message"],
)
def test_an_answer_that_has_begun(dialect: str, request_: ChatRequest) -> None:
    """A server gets the beginning of the answer, and is told to continue it, or it is refused."""
    found = dialects.find(dialect)
    if not found.prefills:
        with pytest.raises(InvalidRequest) as refused:
            found.check(request_)
        assert refused.value.param == "continue_final_message"
        return
    found.check(request_)
    members = json.loads(found.body(request_, CONTROL))
    assert members["continue_final_message"] is True
    assert members.get("add_generation_prompt", False) is False
    assert members["messages"][-1] == BEGUN[-1]


@pytest.mark.parametrize(
    ("taken", "newest", "outside"),
    [
        (samplers.VLLM, "vllm 0.33.0", set()),
        # These two are sent under the names `no_stop_trim` and `regex`.
        (samplers.SGLANG, "sglang 0.5.23", {"include_stop_str_in_output", "structured_outputs"}),
    ],
)
def test_servers_have_what_they_get(taken: tuple[str, ...], newest: str, outside: set[str]) -> None:
    """Each name that a server gets is on its own list."""
    assert set(taken) - set(LISTS[newest]["chat"]) == outside


def test_one_servers_own() -> None:
    """What only one server takes is refused for the other, and where the server is not known."""
    for dialect, own in (("vllm", {"bad_words": ["a"]}), ("sglang", {"extra_key": "a"})):
        assert sent(dialect, **own) == own
        for other in {"vllm", "sglang", "openai", "tgi"} - {dialect}:
            with pytest.raises(InvalidRequest) as refusal:
                sent(other, **own)
            assert refusal.value.param in own
            assert ("dialect=vllm" in refusal.value.message) is (other == "openai")


@pytest.mark.parametrize("dialect", dialects.DIALECTS)
def test_what_asks_for_nothing(dialect: str) -> None:
    """Values that ask for nothing are accepted for each server, which gets only what it takes."""
    for name, value in NEUTRAL.items():
        assert set(sent(dialect, **{name: value})) <= {
            *(name, "no_stop_trim", "model", "sluice", "inputs", "parameters")
        }


def test_stops_of_tgi() -> None:
    """TGI takes four stop strings."""
    assert sent("tgi", stop=["a"] * 4)["stop"] == ["a"] * 4
    with pytest.raises(InvalidRequest, match="4"):
        sent("tgi", stop=["a"] * 5)
    assert sent("vllm", stop=["a"] * 32)["stop"] == ["a"] * 32
