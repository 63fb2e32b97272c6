"""Trials of grammars that native code cannot bear: separate processes, and limits before them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from model import errors, sse
from model.engines import prompt_bounds, steps, trial_child, trials, turns
from model.engines.llama_cpp_chunks import guiding, request_body
from model.engines.trial_process import TooSlowError
from model.engines.trials import Trials, Tried
from model.errors import EngineError, InvalidRequestError, NotReadyError, OverloadedError
from schema_guard import arguments
from tests.support.asking import error_of
from tests.support.model import Serve, asked, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WALL_SECONDS = trials.WALL_SECONDS  # the tests have more
QUESTION = {"messages": [{"role": "user", "content": "What is streaming?"}]}
# Each of these made llama.cpp allocate without end in the serving process.
HOSTILE: list[dict[str, Any]] = [
    {"type": "array", "items": {"type": "integer"}, "minItems": 5, "maxItems": 2},
    {"type": "string", "minLength": 5, "maxLength": 2},
    {"type": "string", "pattern": "^a{5,2}$"},
]


@pytest.fixture
async def tried() -> AsyncIterator[Trials]:
    """Yield two processes that are ready for trials."""
    running = Trials()
    await running.start()
    yield running
    await running.close()


def tool(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the fields of a request with a tool that the model may call."""
    return {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
        **more,
    }


def form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a request whose answer has this schema."""
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    }


def tried_of(**more: Any) -> dict[str, Any]:
    """Return the part of a request that is tried."""
    found = guiding(request_body(asked(QUESTION, **more)))
    assert found is not None
    return found


@pytest.mark.parametrize("schema", HOSTILE)
async def test_hostile_tool(tried: Trials, schema: dict[str, Any]) -> None:
    """A tool whose parameters take all memory is rejected.

    A new process serves the next caller.
    """
    with pytest.raises(
        InvalidRequestError,
        match=(
            r"tools: the schema cannot be used here: it takes more than 0\.5 s of CPU or too "
            r"much memory"
        ),
    ) as caught:
        await tried.check(
            tried_of(**tool({"type": "object", "properties": {"x": schema}})), "tools"
        )

    assert caught.value.param == "tools"
    await tried.check(tried_of(**form({"type": "integer"})), "response_format", "neighbour")


@pytest.mark.parametrize("schema", HOSTILE)
async def test_hostile_form(tried: Trials, schema: dict[str, Any]) -> None:
    """The same schema in a structured answer is rejected with llguidance's reason.

    No process dies for that.
    """
    with pytest.raises(InvalidRequestError, match=r"greater than|regex parse error"):
        await tried.check(tried_of(**form(schema)), "response_format")

    assert [lane.starts for lane in tried.lanes] == [1, 1]


async def test_one_request_pays(serve: Serve) -> None:
    """Over HTTP such a request is a 400 in the container's shape. The next request is served."""
    hostile = {**QUESTION, **tool({"properties": {"x": HOSTILE[0]}})}
    async with serve("llama_cpp", context_tokens=512) as container:
        refused = await container.client.post("/v1/chat/completions", json=hostile)
        lines = await container.lines({**QUESTION, "max_tokens": 3})
        ping = await container.client.get("/ping")

    assert (refused.status_code, ping.status_code, lines[-1]) == (400, 200, {"type": "end"})
    error = error_of(refused)
    assert error["code"] == "invalid_request"
    assert error["param"].startswith("tools")


def rounds(depth: int, most: int) -> dict[str, Any]:
    """Return a tool whose pattern can be read in many ways.

    The check of schemas would reject it.
    """
    inner = "[a-z]"
    for _ in range(depth):
        inner = f"({inner}){{1,{most}}}"
    return tool(
        {
            "properties": {"a": {"type": "string", "pattern": f"^{inner}[a-z]{{100}}$"}},
            "required": ["a"],
        }
    )


async def test_steps_of_a_call(tried: Trials) -> None:
    """A call that the model may make is tried as if it were made.

    Its steps are measured and bounded.
    """
    with pytest.raises(InvalidRequestError, match="simplify"):
        await tried.check(guiding_tools(rounds(6, 2)), "tools")
    slow = await tried.check(guiding_tools(rounds(5, 2)), "tools", "b")
    plain = await tried.check(guiding_tools(rounds(1, 2)), "tools", "b")

    assert slow.step > 3 * plain.step


def guiding_tools(more: dict[str, Any]) -> dict[str, Any]:
    """Return the tried form of tools, without the check of their schemas."""
    return {"tools": more["tools"], "tool_choice": "required", "parallel_tool_calls": False}


async def test_slow_where_it_served(tried: Trials) -> None:
    """A grammar that was slow in the engine itself is rejected from then on.

    Its caller has to pause.
    """
    schema = tried_of(**form({"const": 1}))
    tried.refuse(await tried.check(schema, "x", "a"), "a")

    with pytest.raises(InvalidRequestError, match="its steps take too long"):
        await tried.check(schema, "x", "b")
    with pytest.raises(OverloadedError, match="in a few seconds"):
        await tried.check(tried_of(**form({"const": 2})), "x", "a")


async def test_each_use_counts(tried: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a known schema counts for each choice, and only against its own caller.

    A cheap schema does not wait.
    """

    async def half(_: bytes) -> dict[str, Any]:
        return {"error": None, "seconds": 0.4, "step": 0.001}

    monkeypatch.setattr(tried, "_tried", half)
    monkeypatch.setattr("model.engines.turns._now", lambda: 0.0)  # no share of time is regained
    costly = tried_of(**form({"const": 1}))
    await tried.check(costly, "x", "a")
    with pytest.raises(OverloadedError, match="of this caller"):
        await tried.check(costly, "x", "a")
    await tried.check(costly, "x", "b")
    with pytest.raises(
        InvalidRequestError, match=r"0\.40 s of CPU to prepare for each choice"
    ) as refusal:
        await tried.check(costly, "x", "c", choices=2)
    assert refusal.value.param == "n"

    monkeypatch.setattr(tried, "_tried", too_slow_no_more)
    for _ in range(200):
        await tried.check(tried_of(**form({"const": 2})), "x", "c", choices=8)


async def test_too_dear(tried: Trials) -> None:
    """A pattern whose automaton explodes is rejected, by time or by memory."""
    with pytest.raises(InvalidRequestError, match=r"simplify it|too many"):
        await tried.check(
            tried_of(**form({"type": "string", "pattern": "^((a{1000}){1000}){1000}$"})), "x"
        )


async def test_known(tried: Trials) -> None:
    """A schema is tried once, whether it was accepted or rejected."""
    good, bad = tried_of(**form({"type": "integer"})), tried_of(**form({"type": "nonsense"}))
    for _ in range(2):
        await tried.check(good, "x")
        with pytest.raises(InvalidRequestError, match="nonsense"):
            await tried.check(bad, "x")
    await tried.close()

    await tried.check(good, "x")
    with pytest.raises(EngineError):
        await tried.check(tried_of(**form({"type": "string"})), "x")


async def test_own_death(tried: Trials) -> None:
    """A process that is killed from outside is replaced for the next request.

    It leaves no zombie.
    """
    pid, others = tried.lanes[0].pid, set(zombies())
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    await tried.check(tried_of(**form({"type": "integer"})), "x")

    await until(lambda: tried.lanes[0].pid not in (None, pid))
    await until(lambda: set(zombies()) <= others)


def zombies() -> list[str]:
    """Return the ended children of this process whose exit status is not collected."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.append(stat.parent.name)
    return found


async def test_beside_a_hostile_one(tried: Trials) -> None:
    """Ordinary schemas are tried beside a hostile one, which holds the first lane only briefly."""
    hostile = asyncio.create_task(
        tried.check(tried_of(**tool({"properties": {"x": HOSTILE[0]}})), "tools")
    )
    await asyncio.sleep(0)

    await asyncio.gather(
        *(tried.check(tried_of(**form({"const": number})), "x", str(number)) for number in range(8))
    )

    assert not hostile.done()
    with pytest.raises(InvalidRequestError):
        await hostile


async def test_cancelled(tried: Trials) -> None:
    """After a cancelled trial, the next request does not get that trial's verdict."""
    task = asyncio.create_task(
        tried.check(tried_of(**tool({"properties": {"x": HOSTILE[0]}})), "tools")
    )
    await until(lambda: tried.lanes[0].waiting == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(InvalidRequestError, match="nonsense"):
        await tried.check(tried_of(**form({"type": "nonsense"})), "x")


async def test_bounded_queue(tried: Trials) -> None:
    """More waiting trials than the maximum are rejected with 429."""
    tried.lanes[0]._most = 2
    checks = [
        tried.check(tried_of(**form({"const": number})), "x", str(number)) for number in range(4)
    ]

    results = await asyncio.gather(*checks, return_exceptions=True)

    assert [type(result) for result in results] == [Tried] * 2 + [OverloadedError] * 2


def dear(number: int) -> dict[str, Any]:
    """Return a schema that takes seconds of CPU time to prepare. Each number makes another one."""
    return tried_of(**form({"type": "integer", "multipleOf": 1_000_003 + 2 * number}))


async def test_half_of_the_places() -> None:
    """Slow schemas take at most half of the places.

    More of them are a 429, and others are tried.
    """
    few = Trials(places=4)
    await few.start()
    checks = [few.check(dear(number), "x", str(number)) for number in range(5)]
    results = await asyncio.gather(
        *checks, few.check(tried_of(**form({"const": 1})), "x", "other"), return_exceptions=True
    )
    await few.close()

    assert [lane._most for lane in few.lanes] == [trials.MAX_WAITING, 2]
    assert isinstance(results[-1], Tried)
    assert {type(result) for result in results[:-1]} == {InvalidRequestError, OverloadedError}


async def test_slow_is_remembered(tried: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema that was too slow is rejected for a minute without another trial."""
    with pytest.raises(InvalidRequestError, match="simplify"):
        await tried.check(dear(0), "x")
    monkeypatch.setattr(tried, "_tried", None)
    with pytest.raises(InvalidRequestError, match="simplify"):
        await tried.check(dear(0), "x")

    monkeypatch.undo()
    tried._known = type(tried._known)(
        (key, replace(each, until=0.0)) for key, each in tried._known.items()
    )
    tried._paused.clear()
    monkeypatch.setattr(tried, "_tried", too_slow_no_more)
    await tried.check(dear(0), "x")


async def test_callers_take_turns(tried: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """One grammar of a caller is tried at a time. After a slow one, its new ones must wait.

    Other callers are not affected.
    """
    begun: list[bytes] = []
    go_on = asyncio.Event()

    async def held(body: bytes) -> dict[str, Any]:
        begun.append(body)
        await go_on.wait()
        raise TooSlowError

    monkeypatch.setattr(tried, "_tried", held)
    schemas = [tried_of(**form({"const": number})) for number in range(3)]
    first, second = (asyncio.create_task(tried.check(schema, "x", "a")) for schema in schemas[:2])
    await until(lambda: len(begun) == 1)
    other = asyncio.create_task(tried.check(schemas[2], "x", "b"))
    await until(lambda: len(begun) == 2)
    go_on.set()
    with pytest.raises(InvalidRequestError, match="simplify"):
        await first
    with pytest.raises(OverloadedError, match="in a few seconds"):
        await second
    with pytest.raises(InvalidRequestError, match="simplify"):
        await other

    monkeypatch.setattr(tried, "_tried", too_slow_no_more)
    await tried.check(schemas[1], "x", "c")
    assert not tried._turns
    assert not tried._open


async def too_slow_no_more(_: bytes) -> dict[str, Any]:
    """Return the result of a successful trial."""
    return {"error": None, "seconds": 0.001, "step": 0.0001}


async def test_busy_machine(tried: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that got no CPU time for long may be repeated.

    That is not the schema's fault, so it is not remembered.
    """
    monkeypatch.setattr(trials, "WALL_SECONDS", 0.0)
    with pytest.raises(NotReadyError, match="busy"):
        await tried.check(tried_of(**form({"const": 1})), "x")
    monkeypatch.undo()

    await tried.check(tried_of(**form({"const": 1})), "x")


async def test_spare(tried: Trials) -> None:
    """The next process was started before the one that it replaces ended."""
    ready = tried._spare._next
    assert ready is not None
    await asyncio.wait([ready])
    with pytest.raises(TooSlowError):
        await tried.lanes[0].verdict(json.dumps(dear(0)).encode())

    await tried.lanes[0].verdict(json.dumps(tried_of(**form({"const": 1}))).encode())

    assert tried.lanes[0].pid == ready.result().pid


async def test_ends_with_its_input(tried: Trials) -> None:
    """If its parent dies, a process ends, because its input does."""
    process = (await tried.lanes[0].start())._process
    assert process.stdin is not None
    process.stdin.close()

    assert await asyncio.wait_for(process.wait(), 60) == 0


def test_documented() -> None:
    """The documentation has the limits as the code has them."""
    page = " ".join(
        (Path(__file__).parents[3] / "docs" / "reference" / "container.md").read_text().split()
    )

    for limit in (
        (
            f"{trials.CPU_SECONDS:g} s of CPU, {trial_child.ADDRESS_SPACE // 2**20} MB of "
            "address space"
        ),
        f"tried | {trials.MAX_WAITING}, ",
        f"has not done in {trials.QUICK_SECONDS:g} s of CPU",
        f"A try that takes {WALL_SECONDS:g} s of wall time",
        f"takes too much is kept for {trials.REMEMBERED_SECONDS:g} s",
        f"{prompt_bounds.BYTES_PER_TOKEN} bytes for each token",
        f"a JSON object of {arguments.MAX_ARGUMENTS_DEPTH} levels",
        f"{steps.BUDGET_SECONDS:g} s, or ten usual steps",
        f"{steps.BUDGET_SECONDS:g} s in all over {steps.SLOW_SECONDS:g} s",
        (
            f"what is over {turns.FREE_SECONDS:g} s | a tenth of the time | the request waits up "
            f"to {turns.MOST_AHEAD:g} s"
        ),
        f"the {trial_child.MAX_CALLS} largest tools",
        f"{steps.STALLED_SECONDS:g} s, or ten usual steps",
        f"{sse.MAX_WHOLE // 2**20} MiB: 32,000 tokens",
        f"{errors.MAX_MESSAGE:,} characters",
    ):
        assert limit in page
