"""What servers add to OpenAI's requests: each name of their lists is decided."""

import json
from typing import Any

import pytest

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import (
    ChatRequest,
    CompletionRequest,
    parse_chat,
    parse_completion,
    plain_body,
)
from lambda_fn.schema.extras import INERT_EXTRAS, NEUTRAL, PASSED_EXTRAS, REFUSED
from tests.support.bad_requests import body
from tests.support.parameter_table import DOCUMENT, LISTS, documented, undecided
from tests.support.vllm_stand_in.signatures import FILE

_CHAT = "vllm.entrypoints.openai.chat_completion.protocol.ChatCompletionRequest"


def test_every_name_of_the_servers_is_decided() -> None:
    """A name on a server's list is a parameter, is refused, or is declared inert; never two."""
    assert undecided("chat", ChatRequest.__struct_fields__) == set()
    assert undecided("completions", CompletionRequest.__struct_fields__) == set()
    fields = {*ChatRequest.__struct_fields__}
    assert not fields & REFUSED.keys()
    assert not fields & INERT_EXTRAS
    assert not REFUSED.keys() & INERT_EXTRAS


def test_the_list_of_the_pinned_vllm_is_its_own() -> None:
    """A new version of vLLM needs a new list."""
    pinned = json.loads(FILE.read_text())
    fields = {name for name in pinned["classes"][_CHAT]["fields"] if not name.startswith("_")}
    assert set(LISTS[f"vllm {pinned['version']}"]["chat"]) == fields


def test_the_page_is_up_to_date() -> None:
    """docs/reference/parameters.md contains the table. `make docs` writes it."""
    assert documented() == DOCUMENT.read_text()


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    """A refused parameter is a 400 with its name and a reason; what asks for nothing is taken."""
    for value in ("x", {"a": [1]}, 5):
        with pytest.raises(InvalidRequest, match=name) as refusal:
            parse_chat(body({name: value}))
        assert (refusal.value.param, refusal.value.code) == (name, "unsupported_parameter")
    for nothing in (None, *REFUSED[name].allowed):
        assert parse_chat(body({name: nothing})) == parse_chat(body({}))


def test_refused_values_that_cannot_be_read() -> None:
    """A value that has no type in Python, or is no UTF-8, is refused and breaks nothing."""
    for text in (b'"length_penalty":1e999', b'"priority":' + b"9" * 5000, b'"documents":["\xff"]'):
        with pytest.raises(InvalidRequest) as refusal:
            parse_chat(body({})[:-1] + b"," + text + b"}")
        assert refusal.value.status == 400
    with pytest.raises(InvalidRequest, match="UTF-8"):
        parse_chat(body({})[:-1] + b',"\xff":1}')


def test_choices_of_the_best() -> None:
    """`best_of` is accepted if it is what `n` says."""
    assert parse_chat(body({"n": 2, "best_of": 2})).n == 2
    with pytest.raises(InvalidRequest, match="best_of"):
        parse_chat(body({"best_of": 2}))


def test_what_completions_have_of_their_own() -> None:
    """Completions have `echo`, and their prompts have special tokens by default."""
    asked = {"model": "m", "prompt": "x", "echo": True, "add_special_tokens": True}
    assert parse_completion(json.dumps(asked).encode())[0].echo
    with pytest.raises(InvalidRequest, match="add_special_tokens"):
        parse_completion(json.dumps({**asked, "add_special_tokens": False}).encode())


def test_neutral_values_are_values() -> None:
    """Each value that asks for nothing is one that the parameter accepts."""
    assert set(NEUTRAL) <= set(PASSED_EXTRAS)
    for name, value in NEUTRAL.items():
        assert getattr(parse_chat(body({name: value})), name) == value


@pytest.mark.parametrize(
    ("asked", "name", "value"),
    [
        ({"repeat_penalty": 1.5}, "repetition_penalty", 1.5),
        ({"no_stop_trim": True}, "include_stop_str_in_output", True),
        ({"n_predict": 7, "max_tokens": 7}, "max_tokens", 7),
        ({"n_cmpl": 3}, "n", 3),
    ],
)
def test_other_names(asked: dict[str, Any], name: str, value: object) -> None:
    """A parameter of another server's name is the one that it means."""
    found = plain_body(parse_chat(body(asked)))
    assert found == {**plain_body(parse_chat(body({}))), name: value}


def test_a_limit_of_completions() -> None:
    """A completion without a limit has 16 tokens; -1 asks for no limit under any name."""
    base = {"model": "m", "prompt": "x"}
    limits = [
        parse_completion(json.dumps({**base, **more}).encode())[1].max_tokens
        for more in ({}, {"max_tokens": -1}, {"n_predict": -1}, {"max_tokens": 3})
    ]
    assert limits == [16, None, None, 3]
    with pytest.raises(InvalidRequest, match="max_tokens"):
        parse_completion(json.dumps({**base, "max_tokens": 0}).encode())
