"""A response without a limit of its own: its reservation grows, or ends it."""

import asyncio
import json
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn import ids, limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable, Table, Update
from lambda_fn.events import Delta, End, Event, Finish, Usage
from lambda_fn.metering import accounts, ledger, settlements
from lambda_fn.metering.accounts import Hold
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.metering.windows import windows_of
from lambda_fn.settings import Model
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.reservation import Reservation
from tests.support.function import (
    END,
    FINISH,
    KEY,
    KEY_ID,
    START,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")
PROMPT = 100
"""What the prompt of each request here reserves: the whole context."""
STEP = 4
MODEL = Model("endpoint-1", context_tokens=PROMPT, prompt_price=1, completion_price=10)


def token(number: int) -> dict[str, Any]:
    """Return the record of one token."""
    return {"type": "delta", "index": 0, "delta": {"content": f" {number}"}, "tokens": 1}


def said(count: int) -> str:
    """Return the text of so many tokens."""
    return "".join(f" {number}" for number in range(count))


def answer(count: int) -> bytes:
    """Return a whole answer of so many tokens."""
    usage = {"type": "usage", "prompt_tokens": 4, "completion_tokens": count}
    return lines(START, *map(token, range(count)), FINISH, usage, END)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reserve four tokens at first."""
    monkeypatch.setattr(limits, "FIRST_STEP", STEP)


@pytest.fixture
def call(make_call: Callable[..., Call], small_steps: None) -> Call:
    """Return the application with a model that has prices."""
    return make_call(models={"m": MODEL})


@pytest.fixture
def budget(items: Any) -> Callable[..., None]:
    """Return a function that sets the key's limits."""

    def limited(**most: int) -> None:
        items.put_item(
            Item=accounts.new_account(KEY, name="n", now=1, limits=accounts.Limits(**most))
        )

    return limited


class Extensions:
    """Counts the writes that extend a hold. `held` keeps them back, and `down` fails them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch every table."""
        self.count = 0
        self.down = False
        self.held: asyncio.Event | None = None
        self.asked = asyncio.Event()
        inner = Table.update

        async def update(table: Table, update: Update, **options: Any) -> Any:
            if ":extended" in update.values:
                self.count += 1
                self.asked.set()
                if self.held is not None:
                    await self.held.wait()
                if self.down:
                    raise MeterUnavailable("down")
            return await inner(table, update, **options)

        monkeypatch.setattr(Table, "update", update)


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> Extensions:
    """Return the counter of extensions."""
    return Extensions(monkeypatch)


def booked(items: Any, account: dict[str, str]) -> tuple[int, int, int]:
    """Return an idle account's completion tokens, its cost, and what its budgets of tokens lack."""
    item = items.get_item(Key=account)["Item"]
    assert item["in_flight"] == {}
    spent = {
        item["tokens_day"] - left
        for name, left in item["balance"].items()
        if name.startswith("tokens#") and len(name) == len("tokens#2026-11-21")
    }
    return item["completion_tokens"], item["cost"], spent.pop()


async def test_it_grows_with_the_answer(
    call: Call,
    sagemaker: StandIn,
    items: Any,
    account: dict[str, str],
    budget: Callable[..., None],
    extensions: Extensions,
) -> None:
    """A request without a limit gets all that the model says, in steps that double.

    The container gets no limit, and the ledger has the first step.
    """
    budget(tokens_day=1000, cost_month=10_000)
    sagemaker.script = [part(answer(60))]
    reply = await call(body=STREAM)
    assert text(reply) == said(60)
    assert events(reply)[-2]["choices"][0]["finish_reason"] == "stop"
    assert "max_tokens" not in sagemaker.bodies[0]
    assert extensions.count == 3  # 4 + 8 + 16 + 32
    item = ledger_item(items, reply)
    assert (item["reserved"], item["completion_tokens"]) == (PROMPT + STEP, 60)
    assert booked(items, account) == (60, 4 + 600, 64)
    assert sagemaker.cancelled == []


@pytest.mark.parametrize(("limit", "left"), [("tokens_day", 7), ("cost_month", 70)])
@pytest.mark.parametrize("form", ["stream", "whole", "text"])
async def test_a_spent_budget_ends_the_answer(
    call: Call,
    sagemaker: StandIn,
    items: Any,
    account: dict[str, str],
    budget: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    form: str,
    limit: str,
    left: int,
) -> None:
    """A budget is given out to its last token, and what was sampled beyond is not billed.

    The answer ends with `length`, and the container is told to stop.
    """
    budget(**{limit: left + PROMPT})
    sagemaker.script = [part(lines(START, *map(token, range(30)))), asyncio.Event()]
    more = {"accept": "text/plain"} if form == "text" else {}
    body = {**STREAM, "stream_options": {"include_usage": True}} if form == "stream" else CHAT
    async with asyncio.timeout(60):
        reply = await call(body=body, more=more)
    ended = {"ended": "budget"}
    if form == "stream":
        *_, finish, usage, done = events(reply)
        assert (text(reply), finish["sluice"], done) == (said(7), ended, "[DONE]")
        assert finish["choices"][0]["finish_reason"] == "length"
        assert usage["usage"]["completion_tokens"] == 7
    elif form == "whole":
        value = json.loads(reply.body)
        [choice] = value["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (said(7), "length")
        assert (value["sluice"], value["usage"]["completion_tokens"]) == (ended, 7)
    else:
        said_text, _, trailer = reply.body.decode().partition("\n\x1e")
        assert said_text == said(7)
        assert json.loads(trailer) == {"finish_reason": "length", "sluice": ended}
    assert reply.whole
    item = ledger_item(items, reply)
    assert (item["outcome"], item["finish_reason"], item["completion_tokens"]) == (
        "complete",
        "length",
        7,
    )
    assert booked(items, account)[:2] == (7, 4 + 70)
    assert sagemaker.cancelled == [reply.headers["x-request-id"].removeprefix("req_")]
    [line] = [line for line in capsys.readouterr().out.splitlines() if '"event":"request"' in line]
    assert (json.loads(line)["ended"], json.loads(line)["Unbilled"]) == ("budget", 23)


async def test_nothing_is_delivered_before_it_is_reserved(
    call: Call, sagemaker: StandIn, budget: Callable[..., None], extensions: Extensions
) -> None:
    """While an extension is under way, tokens over the reservation are held, and no others."""
    budget(tokens_day=1000)
    extensions.held = asyncio.Event()
    sagemaker.script = [part(answer(9))]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    async with asyncio.timeout(60):
        await extensions.asked.wait()
        await reply.until(lambda: " 3" in text(reply))
        assert text(reply) == said(STEP)
        extensions.held.set()
        await running
    assert text(reply) == said(9)


async def test_a_held_answer_can_be_cancelled(
    call: Call, sagemaker: StandIn, items: Any, budget: Callable[..., None], extensions: Extensions
) -> None:
    """A response whose extension hangs is ended by its client's leaving, and is booked."""
    budget(tokens_day=1000)
    extensions.held = asyncio.Event()
    sagemaker.script = [part(answer(9))]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    async with asyncio.timeout(60):
        await extensions.asked.wait()
        await reply.until(lambda: " 3" in text(reply))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    item = ledger_item(items, reply)
    assert (item["outcome"], item["completion_tokens"]) == ("cancelled", STEP)


async def test_a_held_answer_reaches_its_deadline(
    call: Call,
    sagemaker: StandIn,
    items: Any,
    budget: Callable[..., None],
    extensions: Extensions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A response whose extension hangs ends at its deadline with what is reserved."""
    producers, enter = list[Producer](), Producer.__aenter__

    async def noted(producer: Producer) -> Producer:
        producers.append(producer)
        return await enter(producer)

    monkeypatch.setattr(Producer, "__aenter__", noted)
    budget(tokens_day=1000)
    extensions.held = asyncio.Event()
    sagemaker.script = [part(answer(9))]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    async with asyncio.timeout(60):
        await extensions.asked.wait()
        await reply.until(lambda: " 3" in text(reply))
        producers[0]._expire()
        await running
    assert text(reply) == said(STEP)
    assert events(reply)[-2]["sluice"] == {"ended": "deadline"}
    assert ledger_item(items, reply)["completion_tokens"] == STEP


@pytest.mark.parametrize("named", [True, False])
async def test_a_reservation_that_need_not_grow(
    call: Call,
    sagemaker: StandIn,
    items: Any,
    budget: Callable[..., None],
    extensions: Extensions,
    named: bool,
) -> None:
    """A named limit is reserved whole, and a key without budgets extends nothing."""
    if named:
        budget(tokens_day=1000)
    else:
        budget(tokens_minute=PROMPT + STEP)
    sagemaker.script = [part(answer(20))]
    reply = await call(body={**STREAM, "max_tokens": 20} if named else STREAM)
    assert (text(reply), extensions.count) == (said(20), 0)
    item = ledger_item(items, reply)
    assert item["reserved"] == PROMPT + (20 if named else STEP)
    assert item["completion_tokens"] == 20


@pytest.mark.parametrize("meter_open", [True, False])
async def test_the_meter_is_down(
    make_call: Callable[..., Call],
    small_steps: None,
    sagemaker: StandIn,
    items: Any,
    account: dict[str, str],
    budget: Callable[..., None],
    extensions: Extensions,
    meter_open: bool,
) -> None:
    """Without the meter an answer ends as reserved, or goes on if the meter fails open."""
    budget(tokens_day=1000)
    extensions.down = True
    sagemaker.script = [part(answer(20))]
    call = make_call(models={"m": MODEL}, meter_open=meter_open)
    async with asyncio.timeout(60):
        reply = await call(body=STREAM)
    count = 20 if meter_open else STEP
    assert text(reply) == said(count)
    finish = events(reply)[-2]
    assert finish.get("sluice") == (None if meter_open else {"ended": "meter"})
    assert ledger_item(items, reply)["completion_tokens"] == count
    assert booked(items, account) == (count, 4 + 10 * count, 4 + count)


async def test_an_extension_that_comes_late(
    call: Call,
    sagemaker: StandIn,
    items: Any,
    account: dict[str, str],
    budget: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An extension that is carried out after its function gave it up is given back."""
    budget(tokens_day=1000)
    inner = Table.update

    async def update(table: Table, update: Update, **options: Any) -> Any:
        done = await inner(table, update, **options)
        if ":extended" in update.values:
            raise MeterUnavailable("no answer")
        return done

    monkeypatch.setattr(Table, "update", update)
    sagemaker.script = [part(answer(20))]
    async with asyncio.timeout(60):
        reply = await call(body=STREAM)
    assert text(reply) == said(STEP)
    assert booked(items, account) == (STEP, 44, 4 + STEP)


async def test_an_extension_adopts_an_attempt_that_came_late(
    table: Table, budget: Callable[..., None]
) -> None:
    """An extension that finds its hold extended takes the amounts that stand there."""
    budget(tokens_day=1000)
    opening = Opening(ids.new_request_id(), KEY_ID, "m", 50, 500, Prices(1, 10))
    admission = await Gate(table).admit(Caller(KEY_ID, ids.hash_key(KEY)), opening)
    assert admission.entry is not None
    first = await settlements.extend(table, opening, admission.entry, tokens=8)
    assert first is not None
    assert (first.tokens, first.cost) == (58, 580)
    again = await settlements.extend(table, opening, admission.entry, tokens=100)
    assert again == first
    rest = await settlements.extend(table, opening, first, tokens=5000)
    assert rest is not None
    assert rest.tokens == 1000
    assert await settlements.extend(table, opening, rest, tokens=1) is None


@pytest.mark.parametrize(("spent", "of_minute"), [(20, 20), (50, 50), (300, 50)])
async def test_the_minute_counts_the_first_step(
    table: Table,
    items: Any,
    account: dict[str, str],
    budget: Callable[..., None],
    spent: int,
    of_minute: int,
) -> None:
    """An extension counts in the day and the month. The minute gets back only what it lent."""
    budget(tokens_day=1000, tokens_month=2000, tokens_minute=100)
    opening = Opening(ids.new_request_id(), KEY_ID, "m", 50, 0, Prices(0, 0))
    admission = await Gate(table).admit(Caller(KEY_ID, ids.hash_key(KEY)), opening)
    assert admission.entry is not None
    hold = await settlements.extend(table, opening, admission.entry, tokens=400)
    assert hold is not None
    done = ledger.Settlement("complete", 0, spent, "stop", 1, 1)
    now = ids.request_time(opening.request_id)
    await settlements.settle(table, opening, done, hold=admission.entry, now=now)
    kept = accounts.Account.of(items.get_item(Key=account)["Item"])
    lent = {
        window.limit: getattr(kept.limits, window.limit) - kept.remaining(window)
        for window in windows_of(now)
        if window.limit.startswith("tokens")
    }
    assert lent == {"tokens_minute": of_minute, "tokens_day": spent, "tokens_month": spent}


# The pace, and what is held, without a meter


def reservation(tokens: int, most: int) -> Reservation:
    """Return a reservation whose extensions are scripted."""
    opening = Opening(ids.new_request_id(), KEY_ID, "m", tokens, 0, Prices(0, 0))
    return Reservation(None, opening, Hold(1, tokens, 0, "", "m"), tokens=tokens, most=most)  # type: ignore[arg-type]


def delta(tokens: int, index: int = 0) -> Delta:
    """Return a piece of a choice."""
    return Delta(msgspec.Raw(b'{"content":"x"}'), index, tokens)


@pytest.mark.parametrize(("pace", "asked_at"), [(10, 1024 - 60), (100, 1024 - 600), (1000, 600)])
async def test_it_is_extended_in_time(
    monkeypatch: pytest.MonkeyPatch, pace: int, asked_at: int
) -> None:
    """An extension is asked for while six seconds of tokens are left, and not much before."""
    now, asked = 100.0, list[int]()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    kept = reservation(1024, 10_000)
    monkeypatch.setattr(kept, "_extend", lambda needed: asked.append(needed))
    step = max(1, pace // 10)
    for _ in range(0, 1024, step):
        assert kept.take([delta(step)])
        now += step / pace
        if asked:
            break
    assert asked[0] == pytest.approx(asked_at, abs=pace * 0.25)


@settings(max_examples=25)  # each has an event loop
@given(
    pieces=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=30),
    grants=st.lists(st.integers(0, 12), max_size=6),
    finished=st.booleans(),
)
def test_what_is_delivered_is_reserved(
    pieces: list[tuple[int, int]], grants: list[int], finished: bool
) -> None:
    """Whatever is granted, a prefix is delivered that is reserved, and each choice ends once.

    Delivered and unbilled tokens are together those that were sampled.
    """
    asyncio.run(_deliver(pieces, grants, finished))


async def _deliver(pieces: list[tuple[int, int]], grants: list[int], finished: bool) -> None:
    kept, granted, remaining = reservation(5, 1000), [5], iter(grants)

    async def extend(_: Any, __: Any, hold: Hold, *, tokens: int, deadline: float) -> Hold | None:
        got = min(tokens, next(remaining, 0))
        granted.append(got)
        return hold.extend(got, 0) if got else None

    sampled: list[Event] = [delta(tokens, index) for tokens, index in pieces]
    total = sum(tokens for tokens, _ in pieces)
    if finished:
        sampled += [*(Finish("stop", index) for index in range(3)), Usage(1, total), End()]
    out: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settlements, "extend", extend)
        out += kept.take(sampled)
        unbilled = 0
        while kept.held:
            await kept.wait(math.inf)
            assert not kept.is_asking
            events = kept.release()
            out += events
            if kept.held and not events and kept.refused is not None:
                rest: list[Event] = []
                if not finished:
                    rest += [Finish("length", index, "budget") for index in range(3)]
                ending, unbilled = kept.cut(rest, "budget")
                out += ending
        kept.close()
    deltas = [event for event in out if isinstance(event, Delta)]
    assert deltas == [it for it in sampled if isinstance(it, Delta)][: len(deltas)]
    delivered = sum(event.tokens for event in deltas)
    assert delivered + unbilled == total
    assert delivered <= sum(granted)
    finishes = sorted(event.index for event in out if isinstance(event, Finish))
    if finished:
        assert finishes == [0, 1, 2]
        [usage] = [event for event in out if isinstance(event, Usage)]
        assert usage.completion_tokens == delivered
