"""The check of schemas, once for each, and each caller's share of it."""

from __future__ import annotations

import asyncio

import pytest

from model.errors import InvalidRequestError, OverloadedError
from model.schema import ChatRequest
from model.schema_checks import SECONDS, SchemaChecks
from tests.support.model import asked

LARGE = int(0.1 / SECONDS)  # characters of a schema whose check counts for a second


def form(caller: str, number: int, size: int = LARGE) -> ChatRequest:
    """Return a request for an answer of a schema that is as large as given."""
    schema = {"properties": {f"p{number}": {"type": "string", "description": "d" * size}}}
    return asked(
        {"messages": [{"role": "user", "content": "."}]},
        sluice={"v": 1, "caller": caller},
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[ChatRequest]:
    """Return the requests whose schemas are checked, in order. A wait takes no time."""
    found: list[ChatRequest] = []

    async def sleep(_: float) -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr("model.engines.turns._now", lambda: 0.0)
    monkeypatch.setattr(ChatRequest, "check_schemas", lambda request, tokens: found.append(request))
    return found


async def test_once(counted: list[ChatRequest]) -> None:
    """A schema is checked once, whoever sends it. A request without one is not checked."""
    checks = SchemaChecks()
    for number in range(100):
        await checks.check(form(str(number % 3), 1))
    await asyncio.gather(*(checks.check(form("a", 2)) for _ in range(100)))
    await checks.check(asked({"messages": [{"role": "user", "content": "."}]}))
    assert len(counted) == 2


async def test_share(counted: list[ChatRequest]) -> None:
    """A caller of ever new large schemas is refused, and others are not. Small ones are free."""
    checks = SchemaChecks()
    for number in range(3):
        await checks.check(form("a", number))
    with pytest.raises(OverloadedError):
        await checks.check(form("a", 3))
    await checks.check(form("b", 4))
    for number in range(1000):
        await checks.check(form("c", number, 1000))
    assert len(counted) == 1004


def tool(parameters: str) -> ChatRequest:
    """Return a request with a tool of these parameters, which are JSON."""
    function = f'{{"name":"f","parameters":{parameters}}}'
    return ChatRequest.model_validate_json(
        f'{{"messages":[{{"role":"user","content":"."}}],"tools":[{{"type":"function","function":{function}}}]}}'
    )


@pytest.mark.parametrize(
    ("parameters", "member"),
    [('{"minItems":5,"maxItems":2}', "minItems"), (f'{{"const":{"9" * 4000}}}', "const")],
)
async def test_wrong(parameters: str, member: str) -> None:
    """A wrong schema is refused each time, by name."""
    checks = SchemaChecks()
    for _ in range(2):
        with pytest.raises(InvalidRequestError) as caught:
            await checks.check(tool(parameters))
        assert caught.value.param == f"tools[0].function.parameters.{member}"


async def test_the_vocabulary_counts() -> None:
    """The engine's vocabulary bounds the alternatives of tools that its grammars guide."""
    branches = ",".join(f'{{"type":"array","minItems":{number}}}' for number in range(40))
    parameters = f'{{"properties":{{"a":{{"anyOf":[{branches}]}}}},"required":["a"]}}'
    await SchemaChecks(lambda: 2048).check(tool(parameters))
    with pytest.raises(InvalidRequestError, match="the most for this model"):
        await SchemaChecks(lambda: 2**20).check(tool(parameters))
