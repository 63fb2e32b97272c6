"""Tests of `model.engines.base.Engine` that every engine passes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from model.errors import ContextLengthError, InvalidRequestError
from model.events import Delta, Event, Finish, Start, Usage
from model.generation import Generation
from model.settings import ENGINES
from tests.support.model import asked, scripted, settings_for, started, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from model.engines.base import Engine
    from model.schema import ChatRequest


@pytest.fixture(params=list(ENGINES))
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Yield every engine of the registry."""
    async with started(settings_for(request.param)) as running:
        yield running


def saying(engine: Engine, text: str, **more: Any) -> ChatRequest:
    """Return a request whose answer is `text`, in more than one token."""
    if type(engine).__name__ == "ScriptedEngine":
        return asked(scripted(say=list(text)), **more)
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": text}}}
    return asked(
        {"messages": [{"role": "user", "content": "Go on."}], "response_format": schema}, **more
    )


def talking(engine: Engine, **more: Any) -> ChatRequest:
    """Return a request whose answer goes on until something ends it."""
    if type(engine).__name__ == "ScriptedEngine":
        return asked(scripted(repeat=" w{i}", count=100_000), **more)
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}
    body = {"messages": [{"role": "user", "content": "Count."}]}
    return asked(
        body,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        **more,
    )


async def whole(engine: Engine, request: ChatRequest) -> list[Event]:
    """Return all events of a request."""
    async with contextlib.aclosing(engine.generate(request)) as batches:
        return [event async for batch in batches for event in batch]


def text_of(events: list[Event], index: int = 0) -> str:
    """Return the text of a choice."""
    return "".join(
        event.content for event in events if isinstance(event, Delta) and event.index == index
    )


def usage_of(events: list[Event]) -> Usage:
    """Return the usage, which is the last event."""
    assert isinstance(events[-1], Usage)
    return events[-1]


async def idle(engine: Engine) -> None:
    """Wait until the engine holds nothing for any request."""
    await until(lambda: engine.active == 0)


async def test_a_count_is_that_of_an_answer(engine: Engine) -> None:
    """A prompt is counted as its answer counts it, with tools where there are any. The engine is
    free again.
    """
    tool = {"type": "function", "function": {"name": "f", "description": "Do it. " * 9}}
    body = {"messages": [{"role": "user", "content": "Hi there."}]}
    tools = None if type(engine).__name__ == "VllmEngine" else [tool]  # it has no tool parser here
    request = asked(body, tools=tools, max_tokens=2)
    counted = await Generation(engine, settings_for("scripted")).count(request)
    await idle(engine)
    assert counted == usage_of(await whole(engine, request)).prompt_tokens
    assert counted > 0


async def test_order(engine: Engine) -> None:
    """An answer is a start, deltas, a finish and the usage, in this order."""
    events = await whole(engine, saying(engine, "one two"))

    kinds = [type(event) for event in events]
    assert kinds[0] is Start
    assert kinds[-2:] == [Finish, Usage]
    assert set(kinds[1:-2]) == {Delta}
    assert "one two" in text_of(events)
    assert Finish(0, "stop") in events


async def test_counts(engine: Engine) -> None:
    """The deltas' token counts add up to the usage.

    The token that ends an answer has no text, and may be missing.
    """
    events = await whole(engine, saying(engine, "one two three"))

    tokens = sum(event.tokens for event in events if isinstance(event, Delta))
    assert all(event.tokens >= 1 for event in events if isinstance(event, Delta))
    assert 0 <= usage_of(events).completion_tokens - tokens <= 1
    start = events[0]
    assert isinstance(start, Start)
    assert usage_of(events).prompt_tokens == start.prompt_tokens > 0


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_max_tokens(engine: Engine, field: str) -> None:
    """An answer ends with reason "length" after exactly max_tokens tokens."""
    events = await whole(engine, talking(engine, **{field: 7}))

    assert Finish(0, "length") in events
    assert usage_of(events).completion_tokens == 7


async def test_prompt_too_long(engine: Engine) -> None:
    """A prompt over the context is rejected with both numbers, before any event."""
    request = asked({"messages": [{"role": "user", "content": "word " * 400}]})

    with pytest.raises(ContextLengthError, match=r"has \d{3,} tokens, .* is 256 tokens"):
        await whole(engine, request)
    await idle(engine)


async def test_answer_fills_the_context(engine: Engine) -> None:
    """An answer without its own limit ends with reason "length" at the end of the context."""
    events = await whole(engine, talking(engine, max_tokens=10_000))

    assert Finish(0, "length") in events
    usage = usage_of(events)
    # An engine may reserve the position of a last token, which it does not evaluate.
    assert 255 <= usage.prompt_tokens + usage.completion_tokens <= 257


async def test_an_answer_that_has_begun(engine: Engine) -> None:
    """With `continue_final_message`, the beginning of the answer counts as a part of the prompt,
    and only what follows it is sampled.
    """
    words = "one two three four five"

    async def answered(begun: str) -> list[Event]:
        messages = [
            {"role": "user", "content": words},
            {"role": "assistant", "content": begun},
        ]
        request = asked({"messages": messages}, continue_final_message=True, max_tokens=2)
        return await whole(engine, request)

    short, long = await answered("one"), await answered("one two three")
    assert usage_of(long).prompt_tokens > usage_of(short).prompt_tokens
    for events in (short, long):
        assert 0 < usage_of(events).completion_tokens <= 2
        assert not text_of(events).startswith("one")


async def test_stop_string(engine: Engine) -> None:
    """A stop string ends the answer with reason "stop". Neither it nor later text is returned."""
    events = await whole(engine, saying(engine, "one two three four", stop=["zzz", "two thr"]))

    assert text_of(events).endswith("one ")
    # llama.cpp does not tell which stop string it was.
    assert {Finish(0, "stop"), Finish(0, "stop", "two thr")} & set(events[-2:-1])


async def test_partial_stop_string_is_said(engine: Engine) -> None:
    """Text that only begins like a stop string stays in the answer."""
    events = await whole(engine, saying(engine, "one two three", stop="two through"))

    assert "one two three" in text_of(events)


async def test_choices(engine: Engine) -> None:
    """Choices have their own indices, and the prompt is counted once."""
    one = await whole(engine, saying(engine, "one two", temperature=0))
    events = await whole(engine, saying(engine, "one two", temperature=0, n=3))

    assert [text_of(events, index) for index in range(3)] == [text_of(one)] * 3
    assert sorted(event.index for event in events if isinstance(event, Finish)) == [0, 1, 2]
    assert sum(isinstance(event, Start) for event in events) == 1
    assert usage_of(events).prompt_tokens == usage_of(one).prompt_tokens
    assert usage_of(events).completion_tokens == 3 * usage_of(one).completion_tokens


async def test_logprobs(engine: Engine) -> None:
    """Log probabilities have OpenAI's shape, with one entry for each token."""
    request = {"messages": [{"role": "user", "content": "Please tell me a short story."}]}

    events = await whole(
        engine, asked(request, max_tokens=5, temperature=0, logprobs=True, top_logprobs=2)
    )

    entries = [
        entry for event in events if isinstance(event, Delta) for entry in event.logprobs or ()
    ]
    assert len(entries) == 5
    for entry in entries:
        assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
        assert entry["logprob"] <= 0
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert len(entry["top_logprobs"]) <= 2


async def test_no_logprobs_unasked(engine: Engine) -> None:
    """Log probabilities are returned only on request."""
    events = await whole(engine, saying(engine, "one"))

    assert all(event.logprobs is None for event in events if isinstance(event, Delta))


async def test_characters_stay_whole(engine: Engine) -> None:
    """A character of several bytes is in one delta, even if it is several tokens."""
    text = "né 漢字 😀 end"

    events = await whole(engine, saying(engine, text))

    said = text_of(events)
    # A JSON string may have the characters as escapes.
    assert text in said or json.loads(said) == text
    assert "\N{REPLACEMENT CHARACTER}" not in said


async def test_seed(engine: Engine) -> None:
    """The same seed produces the same answer."""
    request = asked(
        {"messages": [{"role": "user", "content": "Tell me a story."}]}, seed=7, max_tokens=40
    )

    assert text_of(await whole(engine, request)) == text_of(await whole(engine, request)) != ""


async def test_closing_frees(engine: Engine) -> None:
    """If a reader leaves after the first token, the sequence is freed."""
    async with contextlib.aclosing(engine.generate(talking(engine, n=2))) as batches:
        async for batch in batches:
            if any(isinstance(event, Delta) for event in batch):
                break
        assert engine.active == 1
    await idle(engine)


async def test_closing_after_the_start(engine: Engine) -> None:
    """A reader may leave after the start event, before anything is sampled."""
    async with contextlib.aclosing(engine.generate(talking(engine))) as batches:
        assert isinstance((await anext(batches))[0], Start)
    await idle(engine)


async def test_cancelling_frees(engine: Engine) -> None:
    """If the reading task is cancelled, the sequence is freed."""
    task = asyncio.create_task(whole(engine, talking(engine, n=2)))
    await until(lambda: engine.active == 1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await idle(engine)


async def test_concurrent_requests(engine: Engine) -> None:
    """Concurrent requests each get their own answer, whole."""
    texts = [f"answer {number} to its own question" for number in range(4)]

    answers = await asyncio.gather(*(whole(engine, saying(engine, text)) for text in texts))

    assert all(text in text_of(events) for text, events in zip(texts, answers, strict=True))


async def test_reuse(engine: Engine) -> None:
    """Many short requests one after another leave nothing behind."""
    for _ in range(20):
        await whole(engine, saying(engine, "ok"))

    await idle(engine)
    assert engine.healthy


async def test_closed(engine: Engine) -> None:
    """A closed engine is not healthy, and its running requests have ended."""
    request = asyncio.create_task(whole(engine, talking(engine)))
    await until(lambda: engine.active == 1)

    async with asyncio.timeout(60):
        await engine.close()

    assert not engine.healthy
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)


async def test_tokens_of_a_text(engine: Engine) -> None:
    """The tokens of a text make the text again. A number that is no token is refused by name."""
    for text in ("Grüße, Köln 🚰", "", " a\n<|im_end|>"):
        tokens = await engine.tokenize(text, special=False)
        assert await engine.detokenize(tokens) == text
        assert bool(tokens) == bool(text)
    for wrong in ([2**31 - 1], [1, 2**30]):
        with pytest.raises(InvalidRequestError) as refusal:
            await engine.detokenize(wrong)
        assert refusal.value.param == "tokens"
