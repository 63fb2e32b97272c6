"""A guardrail judges an answer in windows: before they go out, or after."""

import asyncio
import json
import math
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.aws.guardrails import GuardrailUnavailable
from lambda_fn.errors import Unavailable
from lambda_fn.events import Delta, End, Event, Failure, Finish, Start, Usage
from lambda_fn.stream.guard import WINDOW, Guard, Mode

BAD = "forbidden"
NOTHING: frozenset[str] = frozenset()
ENDING: list[Event] = [Finish("stop"), Usage(1, 9), End()]


def delta(text: str, index: int = 0) -> Delta:
    """Return a delta of content."""
    return Delta(msgspec.Raw(json.dumps({"content": text}).encode()), index, 1)


class Judge:
    """A guardrail that blocks texts with `BAD`. It answers when its gate is open."""

    def __init__(self) -> None:
        """Begin with an open gate."""
        self.texts: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self, text: str) -> frozenset[str]:
        """Judge a text."""
        self.texts.append(text)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return frozenset({"VIOLENCE"}) if BAD in text else NOTHING


async def settle(guard: Guard) -> list[Event]:
    """Return what goes out while verdicts are awaited."""
    out: list[Event] = []
    while guard.is_waiting:
        await guard.wait(math.inf)
        out += guard.release()
        if out and type(out[-1]) is End:
            return out
    return out


async def run(guard: Guard, events: Iterable[Event]) -> list[Event]:
    """Return what goes out of an answer, up to its end."""
    out: list[Event] = []
    for event in events:
        out += guard.take([event])
        out += await settle(guard)
        if out and type(out[-1]) in (End, Failure):
            break
    return out


def waits(guard: Guard) -> bool:
    """Return whether a guard waits for a verdict."""
    return guard.is_waiting


def said(events: list[Event], index: int = 0) -> str:
    """Return the content of a choice."""
    deltas = [it for it in events if isinstance(it, Delta) and it.index == index]
    return "".join(msgspec.json.decode(it.delta)["content"] for it in deltas)


SENTENCES = st.lists(
    st.sampled_from(["word ", "another one ", f"{BAD} ", "end. ", "\n", "so", "x" * 99]),
    max_size=20,
)


@given(SENTENCES, st.sampled_from(["sync", "async"]))
def test_what_is_forbidden_does_not_finish(pieces: list[str], mode: Mode) -> None:
    """An answer without it goes out whole. One with it ends with `content_filter`; in sync, no
    window with it goes out.
    """

    async def check() -> None:
        judge = Judge()
        out = await run(Guard(judge, 1, mode=mode), [Start(1), *map(delta, pieces), *ENDING])
        text = "".join(pieces)
        finish = next(it.finish_reason for it in out if isinstance(it, Finish))
        assert type(out[-1]) is End
        if BAD in text:
            assert finish == "content_filter"
            assert text.startswith(said(out))
            if mode == "sync":
                assert BAD not in said(out)
        else:
            assert (finish, said(out)) == ("stop", text)
            assert out[-3:] == ENDING

    asyncio.run(check())


async def test_a_window_is_held_until_it_was_judged() -> None:
    """In sync, nothing goes out before its verdict. The next window has it in its context."""
    judge = Judge()
    judge.gate.clear()
    guard = Guard(judge, 1)
    first = "This is the first sentence of an answer."
    assert guard.take([Start(1)]) == [Start(1)]
    assert guard.take([delta(first[:20])]) == []
    assert not waits(guard)  # more text may be read
    assert guard.take([delta(first[20:]), delta(" And")]) == []
    assert waits(guard)
    await guard.wait(0)
    assert guard.release() == []
    judge.gate.set()
    assert said(await settle(guard)) == first
    out = guard.take([delta(" then."), *ENDING]) + await settle(guard)
    assert said(out) == " And then."
    assert judge.texts == [first, first + " And then."]


async def test_a_long_sentence_is_judged_in_parts() -> None:
    """A window has some 250 characters at most, and a call the text before it, up to 1,000."""
    judge = Judge()
    out = await run(Guard(judge, 1), [*(delta("x" * 50) for _ in range(60)), *ENDING])
    assert said(out) == "x" * 3_000
    assert len(judge.texts) == 3_000 // WINDOW
    assert max(map(len, judge.texts)) <= 1_000


async def test_an_answer_in_one_body_takes_few_calls() -> None:
    """It is judged at its end, in windows of 10,000 characters if it is longer."""
    judge = Judge()
    sentences = [
        delta("This is a sentence of an answer that is not streamed. ") for _ in range(400)
    ]
    out = await run(Guard(judge, 1, whole=True), [*sentences, *ENDING])
    assert out == [*sentences, *ENDING]
    assert len(judge.texts) == 3


async def test_async_sends_at_once_and_cuts() -> None:
    """In async, text goes out while it is judged. A bad verdict ends the answer, and wakes who
    waits for more of it.
    """
    judge, woken = Judge(), asyncio.Event()
    judge.gate.clear()
    guard = Guard(judge, 1, mode="async")
    guard.on_verdict = woken.set
    text = f"Something {BAD} is in this sentence of an answer."
    assert said(guard.take([delta(text)])) == text
    assert said(guard.take([delta(" More of it")])) == " More of it"
    assert not waits(guard)
    judge.gate.set()
    await woken.wait()
    assert waits(guard)
    assert guard.release() == [Finish("content_filter"), End()]


async def test_async_judges_what_came_in_the_meantime() -> None:
    """A window that became full during a call is judged after it, without further text."""
    judge = Judge()
    judge.gate.clear()
    guard = Guard(judge, 1, mode="async")
    guard.take([delta("This is the first sentence of an answer.")])
    guard.take([delta(f" This is the second one, which has {BAD} in it.")])
    woken = asyncio.Event()
    guard.on_verdict = woken.set
    judge.gate.set()
    await woken.wait()
    assert guard.release() == [Finish("content_filter"), End()]


async def test_async_finishes_after_the_last_verdict() -> None:
    """The finish waits, so an answer that is blocked never says that it is complete."""
    judge = Judge()
    judge.gate.clear()
    guard = Guard(judge, 1, mode="async")
    assert said(guard.take([delta(f"So {BAD}"), *ENDING])) == f"So {BAD}"
    assert waits(guard)
    judge.gate.set()
    out = await settle(guard)
    assert out == [Finish("content_filter"), Usage(1, 9), End()]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("error", [GuardrailUnavailable("down"), RuntimeError("bug")])
async def test_a_guardrail_that_is_down(mode: Mode, error: Exception) -> None:
    """The response fails, or goes on if the deployment says so. A bug never lets text out."""
    judge = Judge()
    judge.error = error
    events = [delta("It is so."), *ENDING]
    with pytest.raises(Unavailable) as found:
        await run(Guard(judge, 1, mode=mode), events)
    assert found.value.code == "guardrail_unavailable"
    is_open = Guard(judge, 1, mode=mode, fail_open=True)
    if isinstance(error, GuardrailUnavailable):
        assert said(await run(is_open, events)) == "It is so."
    else:
        with pytest.raises(Unavailable):
            await run(is_open, events)


async def test_all_parts_are_judged() -> None:
    """Reasoning, refusals, and the names and arguments of calls are in the text."""
    judge = Judge()
    call = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}
    fields = [{"reasoning_content": "r", "content": "c"}, {"refusal": "no"}, call]
    events: list[Event] = [Delta(msgspec.Raw(json.dumps(it).encode())) for it in fields]
    assert await run(Guard(judge, 1), [*events, *ENDING]) == [*events, *ENDING]
    assert judge.texts == ["rcnof{}"]


async def test_choices_have_windows_of_their_own() -> None:
    """Each choice is judged by itself, and a bad one ends all that have not finished."""
    judge = Judge()
    events: list[Event] = [
        delta("forbid", 0),
        delta("den", 1),
        Finish("stop", 0),
        Finish("stop", 1),
        End(),
    ]
    assert await run(Guard(judge, 2), events) == events
    assert judge.texts == ["forbid", "den"]
    events = [delta("fine", 0), Finish("stop", 0), delta(BAD, 1), Finish("stop", 1), End()]
    out = await run(Guard(judge, 2), events)
    assert out == [events[0], Finish("stop", 0), Finish("content_filter", 1), End()]


async def test_what_was_not_judged_does_not_go_out_with_a_failure() -> None:
    """A model that fails loses the text of the open window."""
    failure = Failure("crashed", "x")
    guard = Guard(Judge(), 1)
    assert guard.take([Start(1), delta("Not ye"), failure]) == [Start(1), failure]


async def test_a_guard_that_is_left() -> None:
    """Closing ends the call, and waking ends a wait."""
    judge = Judge()
    judge.gate.clear()
    guard = Guard(judge, 1)
    guard.take([delta("So."), *ENDING])
    waiting = asyncio.ensure_future(guard.wait(math.inf))
    await asyncio.sleep(0)
    guard.wake()
    await waiting
    assert guard.release() == []
    guard.close()
    await guard.wait(math.inf)
