"""What of a prompt is refused before a template or a tokenizer sees it."""

from __future__ import annotations

from typing import Any

import pytest

from model.engines import prompt_bounds
from model.errors import ContextLengthError, InvalidRequestError
from tests.support.model import asked, settings_for, started


def call(arguments: str) -> dict[str, Any]:
    """Return a request whose conversation has a call with these arguments."""
    made = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"messages": [{"role": "assistant", "tool_calls": [made]}, {"role": "user", "content": "."}]}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": ""}] * 205},
        {"messages": [{"role": "user", "content": "x" * 33_000}]},
        {"messages": [{"role": "user", "content": "\N{GRINNING FACE}" * 8_500}]},
        call(" " * 33_000),
        {
            "messages": [{"role": "user", "content": "."}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "x" * 33_000}}],
        },
    ],
)
def test_cannot_fit(body: dict[str, Any]) -> None:
    """Messages and bytes that no tokenizer could fit into the context are refused as what they are."""
    with pytest.raises(ContextLengthError, match="tokens, or more: the context length is 1024"):
        prompt_bounds.check(asked(body), 1024, 5)


@pytest.mark.parametrize(
    "arguments", ["[" * 65, '{"a":' * 65, "[" * 200_000 + "]" * 200_000, '"\\"' + "[" * 60 + '"' + "[" * 65]
)
def test_deep_arguments(arguments: str) -> None:
    """Arguments nested so deep that llama.cpp's JSON writer would overflow its stack are the caller's error."""
    with pytest.raises(InvalidRequestError, match="nested deeper than 64") as caught:
        prompt_bounds.check(asked(call(arguments)), 1_000_000, 5)

    assert caught.value.param == "messages.0.tool_calls.0.function.arguments"


@pytest.mark.parametrize("arguments", ["[" * 64, '"' + "[" * 1000, "[]" * 1000, "{}", "", '"\\', '"\\""' * 100])
def test_arguments(arguments: str) -> None:
    """Brackets within strings and one after the other are not nested."""
    prompt_bounds.check(asked(call(arguments)), 1_000_000, 5)


async def test_message_tokens() -> None:
    """The engine knows what its template makes of a message, refuses by that, and takes what fits."""
    async with started(settings_for("llama_cpp")) as engine:
        running: Any = engine
        assert running._message_tokens == 5
        with pytest.raises(ContextLengthError, match="or more"):
            await anext(running.generate(asked({"messages": [{"role": "user", "content": "a"}] * 52})))
        with pytest.raises(InvalidRequestError, match="nested"):
            await anext(running.generate(asked(call("[" * 100_000))))
        batches = running.generate(asked({"messages": [{"role": "user", "content": "a"}] * 30}, max_tokens=1))
        assert await anext(batches)
        await batches.aclose()
