"""Prompts that are rejected before a template or a tokenizer sees them."""

from __future__ import annotations

from typing import Any

import pytest

from model.engines import prompt_bounds
from model.errors import ContextLengthError
from tests.support.model import asked, settings_for, started

DESCRIBED = {"type": "object", "properties": {"a": {"description": "x" * 33_000}}}


def call(arguments: str) -> dict[str, Any]:
    """Return a request whose conversation has a call with these arguments."""
    made = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {
        "messages": [{"role": "assistant", "tool_calls": [made]}, {"role": "user", "content": "."}]
    }


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": ""}] * 205},
        {"messages": [{"role": "user", "content": "x" * 33_000}]},
        {"messages": [{"role": "user", "content": "\N{GRINNING FACE}" * 8_500}]},
        call('{"a":"' + "x" * 33_000 + '"}'),
        {
            "messages": [{"role": "user", "content": "."}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "x" * 33_000}}],
        },
        {
            "messages": [{"role": "user", "content": "."}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": DESCRIBED}}],
        },
    ],
)
def test_cannot_fit(body: dict[str, Any]) -> None:
    """Messages and bytes that cannot fit into the context are rejected before tokenization."""
    with pytest.raises(ContextLengthError, match="tokens, or more: the context length is 1024"):
        prompt_bounds.check(asked(body), 1024, 5)


def test_the_larger_part_is_named() -> None:
    """A prompt that is too long for its tools' schemas is told with `tools`, not `messages`."""
    schema = {"type": "object", "properties": {"p" * 50: {"description": "x" * 200}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    for text, tools, part in (
        ("x" * 100, [tool], "tools"),
        ("x" * 900, [tool], "messages"),
        ("x", [], "messages"),
    ):
        body = {
            "messages": [{"role": "user", "content": text}],
            **({"tools": tools} if tools else {}),
        }
        assert prompt_bounds.larger_part(asked(body)) == part


async def test_message_tokens() -> None:
    """The engine measures the tokens that its template adds to a message.

    It rejects by that, and accepts what fits.
    """
    async with started(settings_for("llama_cpp")) as engine:
        running: Any = engine
        assert running._message_tokens == 5
        with pytest.raises(ContextLengthError, match="or more"):
            await anext(
                running.generate(asked({"messages": [{"role": "user", "content": "a"}] * 52}))
            )
        batches = running.generate(
            asked({"messages": [{"role": "user", "content": "a"}] * 30}, max_tokens=1)
        )
        assert await anext(batches)
        await batches.aclose()
