"""Prompts that are rejected before a template or a tokenizer sees them."""

from __future__ import annotations

import contextlib
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from model.engines import prompt_bounds
from model.errors import ContextLengthError, InvalidRequestError
from tests.support.model import asked, settings_for, started

if TYPE_CHECKING:
    from collections.abc import Callable


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
        call(" " * 33_000),
        {
            "messages": [{"role": "user", "content": "."}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "x" * 33_000}}],
        },
    ],
)
def test_cannot_fit(body: dict[str, Any]) -> None:
    """Messages and bytes that cannot fit into the context are rejected before tokenization."""
    with pytest.raises(ContextLengthError, match="tokens, or more: the context length is 1024"):
        prompt_bounds.check(asked(body), 1024, 5)


@pytest.mark.parametrize(
    "arguments",
    ["[" * 65, '{"a":' * 65, "[" * 200_000 + "]" * 200_000, '"\\"' + "[" * 60 + '"' + "[" * 65],
)
def test_deep_arguments(arguments: str) -> None:
    """Arguments that are nested too deeply are the caller's error.

    llama.cpp's JSON writer would overflow its stack.
    """
    with pytest.raises(InvalidRequestError, match="nested deeper than 64") as caught:
        prompt_bounds.check(asked(call(arguments)), 1_000_000, 5)

    assert caught.value.param == "messages.0.tool_calls.0.function.arguments"


@pytest.mark.parametrize(
    "arguments", ["[" * 64, '"' + "[" * 1000, "[]" * 1000, "{}", "", '"\\', '"\\""' * 100]
)
def test_arguments(arguments: str) -> None:
    """Brackets in strings, and brackets one after another, do not count as nesting."""
    prompt_bounds.check(asked(call(arguments)), 1_000_000, 5)


def no_json(arguments: str) -> bool:
    """Return whether these arguments are rejected as invalid JSON."""
    try:
        prompt_bounds.check_json(asked(call(arguments)))
    except InvalidRequestError as error:
        return error.param == "messages.0.tool_calls.0.function.arguments"
    return False


NO_JSON = [
    *('{"a":' + "1" * 5000 + "}", '{"a":' + "9" * 310 + ".5}", '{"a":{}}' * 500),
    *(
        '{"a":1e999}',
        "1e400",
        "[1e999]",
        "[-1e999]",
        '{"a":1E+400}',
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *(
        "{",
        '"',
        "",
        " ",
        '{"a":1}{"b":2}',
        "/*c*/{}",
        "{'a':1}",
        '{"a":1,}',
        '{"a":01}',
        '{"a":-}',
        '{"a":"\t"}',
    ),
    *(r'"\ud800"', r'{"a":"\ud800"}', r'{"\ud800":1}', r'{"a":"\udc00\ud800"}', r'{"a":"\x"}'),
]
JSON = [
    *("1" * 300, '{"a":' * 64 + "1" + "}" * 64, '{"a":0.' + "1" * 400 + "}"),
    *(
        '"\x7f"',
        "null",
        '{"a":1,"a":2}',
        "true",
        "[]",
        '"x"',
        " {} ",
        "\ufeff{}",
        '{"a":1e-999}',
        '{"a":1e308}',
    ),
    *(r'{"\u0000":1}', r'{"a":"\ud83d\ude00"}', '{"é":"界"}'),
]


async def test_no_json() -> None:
    """Arguments that llama.cpp cannot parse are the caller's error, which names the call.

    All others reach llama.cpp.
    """
    assert [text for text in NO_JSON if not no_json(text)] == []
    assert [text for text in JSON if no_json(text)] == []
    async with started(settings_for("llama_cpp", context_tokens=2048)) as engine:
        running: Any = engine
        for text in JSON:
            batches = running.generate(asked(call(text), max_tokens=1))
            assert await anext(batches), text
            await batches.aclose()
        for text in NO_JSON:
            said: list[Exception] = []
            with contextlib.suppress(ValueError, RuntimeError):
                running._server.handle_chat_completions(
                    json.dumps({**call(text), "max_tokens": 1}), said.append
                )
                assert "error" in str(said), text


def test_cost() -> None:
    """A rejection by size reads no text.

    A walk is linear, and takes at most some times as long as parsing the JSON.
    """
    size = 900_000
    worst = {
        "closing": "[" * 65 + "]" * size,
        "pairs": "[]" * (size // 2),
        "quotes": "[" * 64 + "]" * 64 + '""' * (size // 2),
        "nests": ("[" * 64 + "]" * 64) * (size // 128),
        "escapes": "[" * 65 + '"' + "\\\\" * (size // 2),
        "colons": '{"a":[],' * (size // 8),
    }
    body = json.dumps([[number] for number in range(size // 8)])

    def seconds(work: Callable[[], object]) -> float:
        """Return the least CPU time of three runs."""
        took = []
        for _ in range(3):
            began = time.process_time()
            work()
            took.append(time.process_time() - began)
        return min(took)

    def within(text: str) -> None:
        with contextlib.suppress(InvalidRequestError):
            prompt_bounds.check(asked(call(text)), 1_000_000, 5)

    def over(text: str) -> None:
        with pytest.raises(ContextLengthError):
            prompt_bounds.check(asked(call(text)), 1024, 5)

    unit = seconds(lambda: json.loads(body))
    for name, text in worst.items():
        assert seconds(partial(within, text)) < 8 * unit + 0.02, name
        assert seconds(partial(over, text)) < unit + 0.01, name


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
        with pytest.raises(InvalidRequestError, match="nested"):
            await anext(running.generate(asked(call("[" * 8_000))))
        batches = running.generate(
            asked({"messages": [{"role": "user", "content": "a"}] * 30}, max_tokens=1)
        )
        assert await anext(batches)
        await batches.aclose()
