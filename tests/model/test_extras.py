"""Parameters beyond OpenAI's: what each engine takes, and what it makes of them."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from model.engines.llama_cpp_chunks import TAKEN as LLAMA_CPP
from model.engines.llama_cpp_chunks import request_body
from model.engines.vllm_outputs import TAKEN as VLLM
from model.engines.vllm_outputs import request_body as vllm_body
from model.errors import InvalidRequestError
from model.events import Delta, Finish
from model.extras import Extras
from tests.support.model import asked, settings_for, started

USER = {"role": "user", "content": "Hello"}
QUESTION = {"messages": [USER]}
BEGUN = {"messages": [USER, {"role": "assistant", "content": "I"}]}
VALUES: dict[str, Any] = {
    **dict.fromkeys(("top_k", "repeat_last_n", "min_keep", "min_tokens"), 5),
    **dict.fromkeys(("min_p", "typical_p", "xtc_probability", "xtc_threshold"), 0.5),
    **dict.fromkeys(("top_n_sigma", "repetition_penalty", "dynatemp_range"), 1.5),
    **dict.fromkeys(("dynatemp_exponent", "mirostat_tau", "mirostat_eta"), 0.5),
    "stop_token_ids": [5],
    "allowed_token_ids": [5],
    **dict.fromkeys(("skip_special_tokens", "spaces_between_special_tokens"), False),
    **dict.fromkeys(("ignore_eos", "include_stop_str_in_output"), True),
    **dict.fromkeys(("cache_salt", "extra_key"), "x"),
    "mirostat": 2,
    "bad_words": ["x"],
    "truncate_prompt_tokens": 5,
    "truncation_side": "left",
    "add_generation_prompt": False,
    "continue_final_message": True,
    "return_tokens_as_token_ids": True,
}
"""For each parameter a value that asks for something."""


@pytest.mark.parametrize("name", Extras.model_fields)
def test_each_engine_takes_or_refuses(name: str) -> None:
    """An engine gets a parameter under its own name, or refuses it by the name that was sent."""
    request = asked(BEGUN, **{name: VALUES[name]})
    names = LLAMA_CPP.get(name), name if name in VLLM else None
    for body, theirs in zip((request_body, vllm_body), names, strict=True):
        if theirs is None:
            with pytest.raises(InvalidRequestError, match=name) as refusal:
                body(request)
            assert refusal.value.param == name
        else:
            assert body(request)[theirs] == VALUES[name]


def test_what_asks_for_nothing_is_accepted() -> None:
    """A value that asks for nothing is accepted by an engine that does not take the parameter."""
    assert "min_tokens" not in request_body(asked(QUESTION, min_tokens=0, bad_words=[]))
    assert "typical_p" not in vllm_body(asked(QUESTION, typical_p=1.0, mirostat=0))


def test_how_a_prompt_ends() -> None:
    """The last message of the assistant is continued, unless a new answer is asked for."""

    def end(**more: Any) -> tuple[object, object]:
        body = request_body(asked(BEGUN, **more))
        return body.get("continue_final_message"), body.get("add_generation_prompt")

    assert end() == end(continue_final_message=True) == (True, False)
    assert end(add_generation_prompt=True) == (None, True)
    body = vllm_body(asked(BEGUN, continue_final_message=True))
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"structured_outputs": {}},
        {"structured_outputs": {"choice": ["a"], "regex": "a"}},
        {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "(a"}},
        {"structured_outputs": {"choice": ["x" * 1000] * 500}},
        {"ignore_eos": True, "response_format": {"type": "json_object"}},
    ],
)
def test_wrong_forms(wrong: dict[str, Any]) -> None:
    """A form that cannot guide the answer is refused before an engine gets it."""
    with pytest.raises((InvalidRequestError, ValueError)):
        asked(QUESTION, **wrong).check_schemas()


async def test_forms_guide() -> None:
    """An answer of llama.cpp is one of the choices, or matches the whole pattern."""
    choices = ["yes", "_no", 'Grüße "/\\']
    patterns = [r"[0-9]{3}/[a-z]", r"\d{2}|_x", "_+x|a{3}", r"\/\\/"]

    async with started(settings_for("llama_cpp")) as engine:

        async def answer(**more: Any) -> tuple[str, object]:
            request = asked(QUESTION, **more)
            async with contextlib.aclosing(engine.generate(request)) as batches:
                events = [event async for batch in batches for event in batch]
            text = "".join(event.content for event in events if isinstance(event, Delta))
            return text, next(event.reason for event in events if isinstance(event, Finish))

        for each in choices:
            assert await answer(structured_outputs={"choice": [each]}) == (each, "stop")
        assert (await answer(structured_outputs={"choice": choices}))[0] in choices
        for pattern in patterns:
            text, reason = await answer(structured_outputs={"regex": pattern}, max_tokens=20)
            assert re.fullmatch(pattern, text) or reason == "length"
        with pytest.raises(InvalidRequestError, match="express") as refusal:
            await answer(structured_outputs={"regex": "[a--b]"})
        assert refusal.value.param == "structured_outputs.regex"


async def test_the_end_is_ignored() -> None:
    """With `ignore_eos` an answer goes on to its limit, with samplers of every kind."""
    samplers = {
        name: VALUES[name] for name in LLAMA_CPP if name.split("_")[0] not in ("add", "continue")
    }
    async with started(settings_for("llama_cpp")) as engine:
        for more in ({"ignore_eos": True, "top_k": 1}, samplers):
            request = asked(QUESTION, max_tokens=80, **more)
            async with contextlib.aclosing(engine.generate(request)) as batches:
                events = [event async for batch in batches for event in batch]
            assert Finish(0, "length") in events


async def test_the_real_names_of_vllm() -> None:
    """The request of the pinned vLLM has a field for each parameter that it gets."""
    more = {name: VALUES[name] for name in VLLM}
    choice = {"structured_outputs": {"choice": ["yes", "no"]}}
    async with started(settings_for("vllm")) as engine:
        for request in (asked(BEGUN, max_tokens=9, **more), asked(QUESTION, **choice)):
            async with contextlib.aclosing(engine.generate(request)) as batches:
                events = [event async for batch in batches for event in batch]
            assert any(isinstance(event, Finish) for event in events)
    assert "".join(event.content for event in events if isinstance(event, Delta)) == "yes"
