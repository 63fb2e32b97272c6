"""One hostile request beside eight honest ones, with the real llama.cpp.

Time is the CPU time of this process over all threads, so other work of the machine does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from model.engines.turns import FREE_SECONDS, MOST_AHEAD, SHARE
from model.errors import ModelError, OverloadedError
from model.events import Delta
from tests.support.model import asked, settings_for, started, until

HONEST = 8
ENUM = [f"value {number * 7919 % 100_003} of {number}" for number in range(3000)]


def form(number: int) -> dict[str, Any]:
    """Return a request for one of 3,000 strings. Each call makes another schema."""
    schema = {"enum": ENUM, "title": str(number)}
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    }


def tool(number: int) -> dict[str, Any]:
    """Return a tool with an argument of as many strings as are allowed.

    Each call makes another schema.
    """
    parameters = {
        "properties": {"a": {"enum": ENUM[:500]}},
        "required": ["a"],
        "title": str(number),
    }
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def bounds(number: int) -> dict[str, Any]:
    """Return a tool whose grammar takes all memory."""
    parameters = {
        "properties": {"a": {"type": "array", "items": {}, "minItems": 5, "maxItems": 2}},
        "title": str(number),
    }
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def rounds(number: int) -> dict[str, Any]:
    """Return a tool whose pattern can be read in many ways. Each call makes another schema."""
    inner = "(([a-z]{1,12}){1,12})[a-z]{100}"
    text = {"type": "string", "pattern": f"^{inner}$", "title": str(number)}
    parameters = {"properties": {"a": text}, "required": ["a"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    return {
        "tools": tools,
        "messages": [{"role": "user", "content": "What is the weather in Boston?"}],
    }


def dear(_: int) -> dict[str, Any]:
    """Return a request whose schema takes a quarter of a second to prepare.

    It is always the same.
    """
    numbers = {"type": "integer", "minimum": -99, "maximum": 987_654}
    items = [
        {"type": "object", "properties": {f"p{place}_{name}": numbers for name in range(200)}}
        for place in range(7)
    ]
    schema = {"type": "array", "items": False, "prefixItems": items}
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        "max_tokens": 1,
    }


async def gaps(engine: Any, number: int) -> list[float]:
    """Return the CPU seconds between the tokens of an honest answer."""
    found: list[float] = []
    request = asked(
        {"messages": [{"role": "user", "content": f"Count to {number}."}]},
        max_tokens=150,
        logit_bias={"0": -100, "1": -100, "2": -100},
    )
    async with contextlib.aclosing(engine.generate(request)) as batches:
        last = None
        async for batch in batches:
            now = time.process_time()
            for event in batch:
                if isinstance(event, Delta):
                    if last is not None:
                        found.append(now - last)
                    last = now
    return found


async def together(engine: Any) -> list[float]:
    """Return the gaps of all honest answers, which run at once."""
    found = await asyncio.gather(*(gaps(engine, number) for number in range(HONEST)))
    return [gap for each in found for gap in each]


async def attack(engine: Any, hostile: Any) -> None:
    """Send hostile requests one after another until cancelled."""
    number = 0
    while True:
        number += 1
        await asyncio.sleep(0.01)  # a rejection may come at once
        question = {"messages": [{"role": "user", "content": "Which?"}]}
        request = asked({**question, "max_tokens": 40, **hostile(number)})
        with contextlib.suppress(ModelError):
            async with contextlib.aclosing(engine.generate(request)) as batches:
                async for _ in batches:
                    pass


def p95(values: list[float]) -> float:
    """Return the 95th percentile of the values."""
    return sorted(values)[int(len(values) * 0.95)]


@pytest.mark.parametrize("hostile", [form, tool, bounds, rounds])
async def test_neighbours(hostile: Any) -> None:
    """Honest answers keep a proportionate pace. At most one of their steps takes a second."""
    async with started(
        settings_for("llama_cpp", context_tokens=512, parallel=HONEST + 1)
    ) as engine:
        alone = await together(engine)
        attacker = asyncio.create_task(attack(engine, hostile))
        beside = await together(engine)
        attacker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attacker

    # Without the limits it was a hundred times as slow, at every token.
    assert p95(beside) < 5 * p95(alone) + 0.05
    assert sum(gap > 1 for gap in beside) <= HONEST  # one step, as each answer saw it


async def test_a_known_schema_has_its_turn() -> None:
    """A known schema that is slow to prepare has a share of the time at each use.

    A request over the share is a 429, and other callers go on.
    """
    served = 0

    async def ask_on(engine: Any) -> None:
        nonlocal served
        while True:
            await asyncio.sleep(0.01)
            request = asked({"messages": [{"role": "user", "content": "Which?"}], **dear(0)})
            with contextlib.suppress(OverloadedError):
                async with contextlib.aclosing(engine.generate(request)) as batches:
                    async for _ in batches:
                        pass
                served += 1

    async with started(
        settings_for("llama_cpp", context_tokens=512, parallel=HONEST + 4)
    ) as engine:
        trials: Any = engine
        began = time.monotonic()
        attackers = [asyncio.create_task(ask_on(engine)) for _ in range(4)]
        await until(lambda: served > 0)
        await together(engine)
        seconds = time.monotonic() - began
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)
        (tried,) = trials._trials._known.values()

    assert served <= 2 + (seconds + MOST_AHEAD) / ((tried.seconds - FREE_SECONDS) * SHARE)
