"""One hostile request beside eight honest ones, over llama.cpp itself.

Time is the CPU time of this process, all threads together: what else the machine does is none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from model.errors import ModelError
from model.events import Delta
from tests.support.model import asked, settings_for, started

HONEST = 8
ENUM = [f"value {number * 7919 % 100_003} of {number}" for number in range(3000)]


def form(number: int) -> dict[str, Any]:
    """A structured answer out of 3,000 strings, another schema every time."""
    schema = {"enum": ENUM, "title": str(number)}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}


def tool(number: int) -> dict[str, Any]:
    """A call whose argument is one of as many strings as may be, another schema every time."""
    parameters = {"properties": {"a": {"enum": ENUM[:512]}}, "required": ["a"], "title": str(number)}
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def bounds(number: int) -> dict[str, Any]:
    """A tool whose grammar takes all memory there is."""
    parameters = {
        "properties": {"a": {"type": "array", "items": {}, "minItems": 5, "maxItems": 2}},
        "title": str(number),
    }
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def rounds(number: int) -> dict[str, Any]:
    """A tool whose pattern can be read in many ways, another schema every time."""
    inner = "(([a-z]{1,12}){1,12})[a-z]{100}"
    text = {"type": "string", "pattern": f"^{inner}$", "title": str(number)}
    parameters = {"properties": {"a": text}, "required": ["a"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    return {"tools": tools, "messages": [{"role": "user", "content": "What is the weather in Boston?"}]}


def dear(_: int) -> dict[str, Any]:
    """A form that takes a quarter of a second to prepare, the same every time."""
    numbers = {"type": "integer", "minimum": -99, "maximum": 987_654}
    items = [
        {"type": "object", "properties": {f"p{place}_{name}": numbers for name in range(200)}} for place in range(7)
    ]
    schema = {"type": "array", "items": False, "prefixItems": items}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}, "max_tokens": 1}


async def gaps(engine: Any, number: int) -> list[float]:
    """CPU seconds between the tokens of an honest answer."""
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
    """The same of all honest answers at once."""
    found = await asyncio.gather(*(gaps(engine, number) for number in range(HONEST)))
    return [gap for each in found for gap in each]


async def attack(engine: Any, hostile: Any) -> None:
    """Ask one after the other until cancelled."""
    number = 0
    while True:
        number += 1
        await asyncio.sleep(0.01)  # a refusal may come at once
        question = {"messages": [{"role": "user", "content": "Which?"}]}
        request = asked({**question, "max_tokens": 40, **hostile(number)})
        with contextlib.suppress(ModelError):
            async with contextlib.aclosing(engine.generate(request)) as batches:
                async for _ in batches:
                    pass


def p95(values: list[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[int(len(values) * 0.95)]


@pytest.mark.parametrize("hostile", [form, tool, bounds, rounds, dear])
async def test_neighbours(hostile: Any) -> None:
    """Their pace stays in proportion, and at most one step of theirs takes as long as a second."""
    async with started(settings_for("llama_cpp", context_tokens=512, parallel=HONEST + 1)) as engine:
        alone = await together(engine)
        attacker = asyncio.create_task(attack(engine, hostile))
        beside = await together(engine)
        attacker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attacker

    # It was a hundred times, for every token.
    assert p95(beside) < 5 * p95(alone) + 0.05
    assert sum(gap > 1 for gap in beside) <= HONEST  # one step, as each of them saw it
