"""Floods from one key: many requests, many choices, costly schemas, and costly tool patterns."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import httpx

from tests.attack.target import Findings, Target

KIND = "floods"

_COUNTS = itertools.count()


def _dear(objects: int, number: int = 0) -> dict[str, Any]:
    """Return a response format of objects, each of which takes 0.03 s of CPU to prepare."""
    numbers = {"type": "integer", "minimum": -99 - number, "maximum": 987_654}
    items = [
        {"type": "object", "properties": {f"p{place}_{name}": numbers for name in range(200)}}
        for place in range(objects)
    ]
    schema = {"type": "array", "items": False, "prefixItems": items}
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    }


def _call(pattern: str) -> dict[str, Any]:
    """Return a tool that the model likes to call, whose argument has a pattern."""
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": pattern}},
        "required": ["a"],
        "title": str(next(_COUNTS)),
    }
    return {
        "messages": [{"role": "user", "content": "What is the weather in Boston?"}],
        "tools": [
            {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
        ],
        "max_tokens": 40,
        "temperature": 0,
    }


def _rounds(depth: int, most: int) -> str:
    inner = "[a-z]"
    for _ in range(depth):
        inner = f"({inner}){{1,{most}}}"
    return f"^{inner}[a-z]{{100}}$"


_PATTERNS = (
    *(
        _rounds(depth, most)
        for depth, most in ((3, 2), (4, 2), (5, 2), (6, 2), (11, 2), (2, 12), (3, 8))
    ),
    "^([a-z]{3,26}){1,5}[a-z]{60}$",
    "^([a-z][a-z]?){60}$",
    "^" + "[a-z]?" * 19 + "[a-z]{60}$",
    "^((a|b)x?|(a|c)y?|[a-z]{1,3}){1,100}$",
)
_FLOODS: dict[str, tuple[int, Callable[[], dict[str, Any]]]] = {
    "calls with patterns": (22, lambda: _call(_PATTERNS[next(_COUNTS) % len(_PATTERNS)])),
    "one dear schema": (30, lambda: {"max_tokens": 1, **_dear(10)}),
    "one dear schema, eight choices": (6, lambda: {"max_tokens": 1, "n": 8, **_dear(10)}),
    "new dear schemas": (12, lambda: {"max_tokens": 1, **_dear(6, next(_COUNTS))}),
    "short answers": (60, lambda: {"max_tokens": 60}),
    "eight choices each": (10, lambda: {"max_tokens": 60, "n": 8}),
}
"""Requests at once, and one of them. Each is served or refused."""


async def attack(target: Target, findings: Findings) -> None:
    """Send each flood at once, and wait until all its requests are over."""
    async with target.client() as client:
        for name, (count, body) in _FLOODS.items():

            async def send(name: str, change: dict[str, Any]) -> None:
                try:
                    answer = await client.post("/v1/chat/completions", json=target.chat(**change))
                except httpx.HTTPError as error:
                    findings.check(name, False, repr(error))
                    return
                if answer.status_code == 200:
                    findings.check(name, True)
                else:
                    findings.refusal(name, answer, 400, 429)

            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(send(name, body()))
