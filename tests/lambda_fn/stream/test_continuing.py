"""A response is continued by other runs: no character is lost or repeated, wherever it was cut."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import limits
from lambda_fn.dialects.sluice import DIALECT
from lambda_fn.encode import Head
from lambda_fn.encode.base import read_delta
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.errors import RateLimited, UpstreamFailed
from lambda_fn.event_log import NoLog
from lambda_fn.events import Delta, End, Event, Failed, Finish, Usage
from lambda_fn.ids import new_request_id
from lambda_fn.schema import Control, parse_chat
from lambda_fn.settings import Model
from lambda_fn.stream.continuing import Continuing
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.failover import continuing
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.token_bounds import Bounds
from lambda_fn.stream.usage_counter import UsageCounter
from tests.support.function import lines
from tests.support.seam import HANG, ListSink, ScriptedInvocation

MODEL = Model(endpoint="e", context_tokens=10_000)
PROMPT = 7
words = st.lists(
    st.sampled_from(["a", " b", " ", "\n", "\n\n", "  c ", "é🌍", "\u3000", ""]), min_size=1
)


def cut() -> UpstreamFailed:
    """Return the error of a stream that broke."""
    return UpstreamFailed("The model's response was truncated.", code="upstream_cut")


def answer(tokens: Sequence[str], prompt: int, *, reasoning: Sequence[str] = ()) -> bytes:
    """Return the records of a whole answer."""
    deltas = [{"reasoning_content": token} for token in reasoning]
    deltas += [{"content": token} for token in tokens]
    records = [{"type": "delta", "index": 0, "delta": delta, "tokens": 1} for delta in deltas]
    usage = {"type": "usage", "prompt_tokens": prompt, "completion_tokens": len(records)}
    return lines(
        {"type": "start", "prompt_tokens": prompt},
        *records,
        {"type": "finish", "index": 0, "finish_reason": "stop"},
        usage,
        {"type": "end"},
    )


class Case:
    """A request whose runs a test decides."""

    def __init__(self, body: dict[str, Any] | None = None, *, model: Model = MODEL) -> None:
        """Begin without runs. A run is the steps of its invocation, or a function of its body."""
        fields = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **(body or {})}
        self.request = parse_chat(json.dumps(fields).encode())
        self.model = model
        self.runs: list[Any] = []
        self.bodies: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.log: list[str] = []
        self.granted: list[bool] = []
        self.reserved: list[int] = []
        self.counter = UsageCounter()
        self.id = new_request_id()

    def invoke(self, run_id: str, body: bytes) -> Any:
        """Return the next run."""
        decoded = json.loads(body)
        self.bodies.append(decoded)
        self.ids.append(run_id)
        self.log.append(f"begin {run_id.partition('.')[2] or 1}")
        steps = self.runs.pop(0)
        run = ScriptedInvocation(steps(decoded) if callable(steps) else steps, pause=False)
        run.request_id = run_id
        return run

    async def cancel(self, run_id: str) -> None:
        """Note a cancel."""
        self.log.append(f"cancel {run_id.partition('.')[2] or 1}")

    async def reserve(self, tokens: int) -> bool:
        """Note a reservation."""
        self.log.append("reserve")
        self.reserved.append(tokens)
        return self.granted.pop(0) if self.granted else True

    def source(self) -> Continuing:
        """Return the runs."""
        bounds = Bounds.of(self.request, self.model, size=20)
        control = Control(self.id, 1000, bounds.prompt, "key")
        first = self.invoke(self.id, DIALECT.body(bounds.applied(self.request), control))
        return continuing(
            first,
            self.invoke,
            self.request,
            model=self.model,
            dialect=DIALECT,
            bounds=bounds,
            control=control,
            counter=self.counter,
            cancel=self.cancel,
            reserve=self.reserve,
            seconds=60,
            stored=True,
        )

    async def events(self) -> list[Event]:
        """Return all events of the response."""
        source, found = self.source(), list[Event]()
        async with Producer(source, source, self.counter, NoLog(), seconds=60) as producer:
            while not producer.ended:
                batch = await producer.read(time.monotonic() + 60)
                found += batch[1] if batch is not None else []
        return found


def said(events: Sequence[Event], name: str = "content") -> str:
    """Return the text of events."""
    deltas = [read_delta(event) for event in events if type(event) is Delta]
    return "".join(getattr(delta, name) or "" for delta in deltas)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once."""
    monkeypatch.setattr(limits, "CONTINUE_PAUSE", 0.0)


@given(
    words,
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["error", "end", "engine"])), max_size=2),
    st.data(),
)
def test_nothing_is_lost_or_repeated(
    tokens: list[str], cuts: list[tuple[float, str]], data: st.DataObject
) -> None:
    """However often, wherever and however runs are cut, the client has the text of one answer."""
    whole, case, prompts = "".join(tokens), Case(), list[int]()
    stripped = data.draw(st.booleans(), "the template strips the text")

    def run(number: int) -> Any:
        def steps(body: dict[str, Any]) -> list[Any]:
            last = body["messages"][-1]
            begun = last["content"] if last["role"] == "assistant" else ""
            assert whole.startswith(begun)
            rest = whole[len(begun) :]
            pieces = tokens if number == 0 else data.draw(st.just(list(rest)) | st.just([rest]))
            if stripped and number and rest and not rest[0].strip() and rest.strip():
                assert begun == begun.rstrip()
            records = answer(pieces, PROMPT + number)
            if number >= len(cuts):
                prompts.append(PROMPT + number)
                return [records]
            at, kind = cuts[number]
            part = records[: int(at * len(records))]
            if b"\n" in part:  # it has told its prompt
                prompts.append(PROMPT + number)
            if kind == "engine":
                part = part[: part.rfind(b"\n") + 1]
                return [part, lines({"type": "error", "code": "engine_error", "message": "x"})]
            return [part, cut] if kind == "error" else [part]

        return steps

    case.runs = [run(number) for number in range(len(cuts) + 1)]
    found = asyncio.run(case.events())
    text = said(found)
    if type(found[-1]) is Failed:  # it was cut before its first token
        assert (text, len(case.ids)) == ("", 1)
        return
    assert text == whole
    assert type(found[-1]) is End
    assert sum(type(event) is Finish for event in found) == 1
    [usage] = [event for event in found if type(event) is Usage]
    sampled = sum(event.tokens for event in found if type(event) is Delta)
    assert (usage.prompt_tokens, usage.completion_tokens) == (PROMPT, sampled)
    assert case.counter.billed == (sum(prompts), sampled)
    steps = [["begin 1"]]
    steps += [[f"cancel {n or 1}", "reserve", f"begin {n + 1}"] for n in range(1, len(case.ids))]
    assert case.log == [step for run in steps for step in run]


async def test_what_the_next_run_gets() -> None:
    """It has the text as the beginning of its answer, the tokens that are left, and an own id."""
    case = Case({"max_tokens": 10, "min_tokens": 3, "stop": ["!"]})
    first = answer([" Hello", " wide "], PROMPT)
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut], [answer(["world"], 9)]]
    found = await case.events()
    assert said(found) == " Hello wide world"
    second = case.bodies[1]
    assert second["messages"][-1] == {"role": "assistant", "content": " Hello wide"}
    assert (second["continue_final_message"], second["max_tokens"]) == (True, 8)
    assert (second["min_tokens"], second["stop"]) == (1, ["!"])
    assert second["sluice"]["request_id"] == f"{case.id}.2"
    assert second["sluice"]["max_prompt_tokens"] == case.reserved[0]
    assert case.reserved[0] >= case.bodies[0]["sluice"]["max_prompt_tokens"] + len(" Hello wide ")
    assert 0 < second["sluice"]["deadline_ms"] <= 60_000


async def test_a_prefill_of_the_caller_is_continued() -> None:
    """A request that has a prefill itself goes on behind it and the text until the cut."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well,"}]
    case = Case({"messages": messages, "continue_final_message": True})
    first = answer([" yes"], PROMPT)
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut], [answer(["!"], 9)]]
    assert said(await case.events()) == " yes!"
    assert case.bodies[1]["messages"][-1]["content"] == "Well, yes"
    assert len(case.bodies[1]["messages"]) == 2


async def test_reasoning_that_has_ended_is_kept() -> None:
    """A response that was cut in its answer is continued, with its reasoning."""
    case = Case()
    first = answer(["So"], PROMPT, reasoning=["Hm", "m"])
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut], [answer([" be it"], 9)]]
    found = await case.events()
    assert (said(found), said(found, "reasoning_content")) == ("So be it", "Hmm")
    assert case.bodies[1]["messages"][-1]["reasoning_content"] == "Hmm"
    [usage] = [event for event in found if type(event) is Usage]
    assert (usage.completion_tokens, usage.reasoning_tokens) == (4, 2)


def failed(events: list[Event]) -> Failed:
    """Return the error that ends a response."""
    assert type(events[-1]) is Failed
    return events[-1]


@pytest.mark.parametrize(
    ("model", "tokens", "reasoning"),
    [
        (MODEL, [], ["Hm"]),
        (msgspec.structs.replace(MODEL, reasoning_tags="<think> </think>"), ["<think>", "Hm"], []),
        (msgspec.structs.replace(MODEL, reasoning_tags="</think>"), ["Hm"], []),
    ],
)
async def test_reasoning_that_has_not_ended(
    model: Model, tokens: list[str], reasoning: list[str]
) -> None:
    """A response that was cut in its reasoning is not continued, and the error says why."""
    case = Case(model=model)
    first = answer(tokens, PROMPT, reasoning=reasoning)
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut]]
    error = failed(await case.events())
    assert (error.code, len(case.ids)) == ("upstream_cut", 1)
    assert "reasoning had not ended" in error.message
    assert case.id in error.message
    assert "continue_final_message" in error.message


async def test_it_is_continued_twice_at_most() -> None:
    """After the third cut the response fails with all its text until there."""
    case = Case()
    parts = [answer([token], PROMPT) for token in ("a", "b", "c")]
    case.runs = [[part[: part.index(b'{"type": "finish"')], cut] for part in parts]
    found = await case.events()
    assert said(found) == "abc"
    assert "after 3 containers" in failed(found).message
    assert case.ids == [case.id, f"{case.id}.2", f"{case.id}.3"]


async def test_a_budget_that_does_not_allow_it() -> None:
    """Without a reservation for its prompt no run begins."""
    case = Case()
    case.granted = [False]
    first = answer(["a"], PROMPT)
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut]]
    assert "budget" in failed(await case.events()).message
    assert case.log == ["begin 1", "cancel 1", "reserve"]


def busy() -> RateLimited:
    """Return the refusal of an endpoint that is full."""
    return RateLimited("The model is busy. Try again.")


async def test_a_run_that_no_container_takes_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dead container may have to be replaced. The patience has an end."""
    first = answer(["a"], PROMPT)
    part = first[: first.index(b'{"type": "finish"')]
    case = Case()
    case.runs = [[part, cut], [busy], [busy], [answer(["b"], 9)]]
    assert said(await case.events()) == "ab"
    assert case.ids == [case.id, *[f"{case.id}.2"] * 3]
    assert case.counter.billed == (PROMPT + 9, 2)
    monkeypatch.setattr(limits, "CONTINUE_PATIENCE", 0.0)
    case = Case()
    case.runs = [[part, cut], [busy]]
    assert "no container" in failed(await case.events()).message


async def test_an_answer_that_was_cut_behind_its_finish() -> None:
    """If only the end is missing, or no token is left, no run is needed."""
    case = Case({"max_tokens": 2})
    first = answer(["a", "b"], PROMPT)
    case.runs = [[first[: first.index(b'{"type": "usage"')], cut]]
    found = await case.events()
    assert [type(event) for event in found[-3:]] == [Finish, Usage, End]
    assert found[-2] == Usage(PROMPT, 2)
    case = Case({"max_tokens": 2})
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut]]
    found = await case.events()
    assert found[-3:] == [Finish("length"), Usage(PROMPT, 2), End()]
    assert len(case.ids) == 1


async def test_heartbeats_go_on_and_a_client_can_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """While no container takes the next run, the client gets heartbeats. Leaving ends it."""
    monkeypatch.setattr(limits, "CONTINUE_PAUSE", 0.01)
    first = answer(["a"], PROMPT)
    case = Case()
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut], [HANG]]
    source, sink = case.source(), ListSink()
    encoder = ChatStream(Head(case.id, 1, "m"))
    delivery, beat = Delivery(encoder, sink, heartbeat=0.01), encoder.heartbeat()
    producer = Producer(source, source, case.counter, NoLog(), seconds=60)
    async with producer:
        running = asyncio.create_task(delivery.run(producer))
        async with asyncio.timeout(60):
            while sum(piece == beat for piece in sink.pieces) < 3:
                assert not running.done()
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
    assert producer.ended
    assert case.log == ["begin 1", "cancel 1", "reserve", "begin 2"]
    assert source.request_id == f"{case.id}.2"


async def test_a_cancel_while_it_is_continued() -> None:
    """A response that is cancelled between two runs ends as cancelled."""
    first = answer(["a"], PROMPT)
    case = Case()
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut], [HANG]]
    source = case.source()
    async with Producer(source, source, case.counter, NoLog(), seconds=60) as producer:
        while "begin 2" not in case.log:
            await producer.read(time.monotonic() + 0.01)
        producer.cancel()
        batch = await producer.read(time.monotonic() + 60)
    assert batch is not None
    assert failed(batch[1]).kind == "cancelled"


async def test_the_deadline_while_it_is_continued() -> None:
    """A response whose time is over between two runs ends with its text, as at any other time."""
    first = answer(["a"], PROMPT)
    case = Case()
    case.runs = [[first[: first.index(b'{"type": "finish"')], cut], [HANG]]
    source, found = case.source(), list[Event]()
    async with Producer(source, source, case.counter, NoLog(), seconds=60) as producer:
        while not producer.ended:
            batch = await producer.read(time.monotonic() + 0.01)
            found += batch[1] if batch is not None else []
            if "begin 2" in case.log:
                producer._expire()
    assert said(found) == "a"
    assert Finish("length", ended="deadline") in found
    assert [event for event in found if type(event) is Usage] == [Usage(PROMPT, 1)]
