"""What a chat template can do about reasoning is read from it, and the rest is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from model.engines.reasoning import Ability, fields
from model.errors import InvalidRequestError
from tests.support.model import asked

BODY = {"messages": [{"role": "user", "content": "?"}]}
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}{# a bathing thinker #}"
SWITCHED = PLAIN + "{% if enable_thinking %}<think>{% endif %}{{ date_string }}"
ALWAYS = PLAIN + "<think>\\n"
LEVELS = PLAIN + "Reasoning: {{ reasoning_effort }}"


@pytest.mark.parametrize(
    ("template", "more", "param"),
    [
        (PLAIN, {"reasoning_effort": "low"}, "reasoning_effort"),
        (PLAIN, {"thinking_token_budget": 5}, "thinking_token_budget"),
        (PLAIN, {"chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs.thinking"),
        (PLAIN, {"reasoning_effort": "none"}, None),
        (PLAIN, {"chat_template_kwargs": {"enable_thinking": False}}, None),
        (PLAIN, {"chat_template_kwargs": {"date_string": "x"}}, "chat_template_kwargs.date_string"),
        (SWITCHED, {"chat_template_kwargs": {"date_string": "x"}}, None),
        (SWITCHED, {"reasoning_effort": "none"}, None),
        (SWITCHED, {"reasoning_effort": "max", "thinking_token_budget": 5}, None),
        (ALWAYS, {"reasoning_effort": "none"}, "reasoning_effort"),
        (ALWAYS, {"reasoning_effort": "low"}, None),
        (LEVELS, {"reasoning_effort": "none"}, None),
        ("", {}, None),
    ],
)
def test_what_a_template_can(template: str, more: dict[str, Any], param: str | None) -> None:
    """A request that the template would ignore is refused, and all others are taken."""
    request = asked(BODY, **more)
    if param is None:
        Ability(template).check(request, guided=False)
        return
    with pytest.raises(InvalidRequestError) as refusal:
        Ability(template).check(request, guided=False)
    assert refusal.value.param == param


@pytest.mark.parametrize("template", [PLAIN, ALWAYS, SWITCHED])
@pytest.mark.parametrize("on", [True, False])
def test_a_soft_switch(template: str, *, on: bool) -> None:
    """A request of the Messages API is answered by a model that cannot turn, as it answers."""
    switch = {"chat_template_kwargs": {"enable_thinking": on, "thinking": on}}
    request = asked(BODY, **switch, sluice={"v": 1, "soft_thinking": True})
    for guided in (False, True):
        Ability(template).check(request, guided=guided)


def test_a_guided_answer() -> None:
    """It has no reasoning: a request for it is refused, and the template is told."""
    with pytest.raises(InvalidRequestError, match="guided from the first token"):
        Ability(SWITCHED).check(asked(BODY, reasoning_effort="low"), guided=True)
    Ability(ALWAYS).check(asked(BODY), guided=True)
    assert fields(asked(BODY), guided=True) == {"chat_template_kwargs": {"enable_thinking": False}}


def test_the_fields_of_llama_cpp() -> None:
    """The effort also turns the template's switch, unless the request turns it itself."""
    on = {"enable_thinking": True, "thinking": True}
    request = asked(BODY, reasoning_effort="low", thinking_token_budget=5)
    assert fields(request, guided=False) == {
        "reasoning_effort": "low",
        "chat_template_kwargs": on,
        "thinking_budget_tokens": 5,
    }
    arguments = {"enable_thinking": False}
    request = asked(BODY, reasoning_effort="none", chat_template_kwargs=arguments)
    assert fields(request, guided=False)["chat_template_kwargs"]["enable_thinking"] is False
    assert fields(asked(BODY), guided=False) == {}
