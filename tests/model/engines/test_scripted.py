"""The scripted engine's language and its clock."""

from __future__ import annotations

import contextlib
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engines import scripted as scripted_engine
from model.engines.script import StopFilter, parse, words
from model.engines.scripted import BUFFERED_STEPS
from model.errors import EngineError, InvalidRequestError, NotReadyError
from model.events import Delta, Event, Finish, Start, Usage
from tests.support.model import asked, scripted, settings_for, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def engine() -> AsyncIterator[Any]:
    """Yield the engine, with a context for long scripts."""
    async with started(settings_for("scripted", context_tokens=100_000)) as running:
        yield running


async def events_of(engine: Any, **script: Any) -> list[Event]:
    """Return all events of a script."""
    async with contextlib.aclosing(engine.generate(asked(scripted(**script)))) as batches:
        return [event async for batch in batches for event in batch]


async def test_exact(engine: Any) -> None:
    """A script produces its tokens, one for each delta, and counts them exactly."""
    assert await events_of(engine, say=["a", "é", "😀"], prompt_tokens=5, finish="length") == [
        Start(5),
        Delta(0, 1, "a"),
        Delta(0, 1, "é"),
        Delta(0, 1, "😀"),
        Finish(0, "length"),
        Usage(5, 3),
    ]


async def test_echo(engine: Any) -> None:
    """A message that is no script is echoed word by word.

    The prompt counts the words of all messages.
    """
    request = asked(
        {
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "say it  back\n"},
            ]
        }
    )

    async with contextlib.aclosing(engine.generate(request)) as batches:
        events = [event async for batch in batches for event in batch]

    assert [event.content for event in events if isinstance(event, Delta)] == [
        "say",
        " it",
        "  back",
        "\n",
    ]
    assert events[0] == Start(6)
    assert events[-1] == Usage(6, 4)


@pytest.mark.parametrize(
    ("begun", "rest"), [("a", [" b", " c"]), ("a b", [" c"]), ("a b ", ["c"]), ("a b c", [])]
)
async def test_an_answer_that_has_begun(engine: Any, begun: str, rest: list[str]) -> None:
    """With a prefill, the script goes on behind it, and does not fail a second time."""
    body = scripted(think=["hm"], say=["a", " b", " c"], fail_after=1)
    body["messages"].append({"role": "assistant", "content": begun})
    request = asked({**body, "continue_final_message": True})
    async with contextlib.aclosing(engine.generate(request)) as batches:
        events = [event async for batch in batches for event in batch]
    assert [event.content for event in events if isinstance(event, Delta)] == rest
    assert events[-2] == Finish(0, "stop")


async def test_tool_calls(engine: Any) -> None:
    """A tool call comes in OpenAI's fragments, each a token."""
    events = await events_of(
        engine, say=["a"], tool_calls=[{"name": "f", "arguments": ["{", "}"]}], prompt_tokens=1
    )

    assert events[2:] == [
        Delta(
            0,
            1,
            tool_calls=(
                {
                    "index": 0,
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                },
            ),
        ),
        Delta(0, 1, tool_calls=({"index": 0, "function": {"arguments": "{"}},)),
        Delta(0, 1, tool_calls=({"index": 0, "function": {"arguments": "}"}},)),
        Finish(0, "tool_calls"),
        Usage(1, 4),
    ]


async def test_nothing(engine: Any) -> None:
    """An empty script finishes at once."""
    assert await events_of(engine, prompt_tokens=1) == [Start(1), Finish(0, "stop"), Usage(1, 0)]


@pytest.mark.parametrize(
    ("code", "kind"), [("engine_error", EngineError), ("not_ready", NotReadyError)]
)
async def test_failure(engine: Any, code: str, kind: type[Exception]) -> None:
    """A script fails with its code after its number of tokens."""
    said = 0
    with pytest.raises(kind):  # noqa: PT012 - what came before the failure is asserted too
        async with contextlib.aclosing(
            engine.generate(asked(scripted(count=9, fail_after=4, code=code)))
        ) as batches:
            async for batch in batches:
                said += sum(isinstance(event, Delta) for event in batch)

    assert said == 4


async def test_rate(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens come at the rate, with the times at which they were due.

    That holds also for tokens that come late.
    """
    clock = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds + (
            0.025 if seconds else 0
        )  # each sleep ends two and a half steps too late

    loop = SimpleNamespace(time=lambda: clock)
    monkeypatch.setattr(
        scripted_engine, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: loop)
    )
    monkeypatch.setattr(scripted_engine, "time", SimpleNamespace(time_ns=lambda: int(clock * 1e9)))
    events = await events_of(engine, count=21, rate=100, stamp=True, first_after=0.05)

    stamps = [int(event.content) / 1e9 for event in events if isinstance(event, Delta)]
    assert stamps == pytest.approx([100.05 + number / 100 for number in range(21)], abs=1e-6)
    assert clock == pytest.approx(100.25, abs=0.03)


async def test_buffer(engine: Any) -> None:
    """A reader that paused gets the tokens sampled meanwhile in one bounded batch.

    After the bound, sampling had paused.
    """
    request = asked(scripted(count=1000, rate=10_000))
    sizes = []
    async with contextlib.aclosing(engine.generate(request)) as batches:
        await anext(batches)
        async for batch in batches:
            sizes.append(len(batch))
            if len(sizes) == 1:
                time.sleep(0.08)  # noqa: ASYNC251 - the reader is away, with the loop

    assert max(sizes) == BUFFERED_STEPS
    assert sum(sizes) == 1000 + 2  # the finish and the usage


@pytest.mark.parametrize(
    "text", ["{", '{"sing":1}', '{"rate":0}', '{"count":-1}', '{"code":"x"}', '{"say":"a"}']
)
def test_bad_script(text: str) -> None:
    """A JSON object that is not a valid script is an error."""
    with pytest.raises(InvalidRequestError, match="script"):
        parse(text)


@given(st.text())
def test_words(text: str) -> None:
    """The words add up to the text."""
    assert "".join(words(text)) == text


@given(
    st.text("ab", max_size=20),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_stop_filter(text: str, stops: list[str], data: st.DataObject) -> None:
    """However a text is cut, its visible part ends before the first complete stop string."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stop_filter = StopFilter(tuple(stops))
    shown = ""
    for character in text:
        shown += stop_filter.feed(character)
        if stop_filter.stopped:
            break
    else:
        shown += stop_filter.rest()

    pieces = StopFilter(tuple(stops))
    cut_shown = ""
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        cut_shown += pieces.feed(text[start:end])
        if pieces.stopped:
            break
    else:
        cut_shown += pieces.rest()

    assert stop_filter.stopped == pieces.stopped == any(stop in text for stop in stops)
    assert text.startswith(shown)
    assert text.startswith(cut_shown)
    assert not any(stop in cut_shown for stop in stops)
    if not stop_filter.stopped:
        assert shown == cut_shown == text
