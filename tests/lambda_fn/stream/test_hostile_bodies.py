"""Bodies whose members have hostile values: alone, nested, in pairs, and many at once.

The schemas are those of the API's own document, so a new member is tried without a change here.
"""

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import dialects
from lambda_fn.errors import APIError
from lambda_fn.schema import ChatRequest, Control, Rules
from lambda_fn.schema.responses import History
from lambda_fn.seals import Seals
from lambda_fn.settings import Model
from lambda_fn.stream.negotiate import (
    Continued,
    ReadRequest,
    read_chat,
    read_compaction,
    read_completion,
    read_message,
    read_response,
)
from model.schema import ChatRequest as ContainerRequest
from model.schema import parse_invocation
from tests.support.hostile_calls import COMPONENTS, GOOD, complaint, hostile_app, schema_of
from tests.support.hostile_values import DEEP_ARRAY, WRONG, Values, places, put
from tests.support.worst_bodies import call

VALUES = Values(COMPONENTS)
MOST = 150
"""Values of a member that are tried alone."""
NESTED: tuple[Any, ...] = (
    None,
    True,
    1,
    -1,
    "",
    "x",
    [],
    {},
    DEEP_ARRAY,
    *map(msgspec.Raw, (b"1e400", rb'"\ud800"')),
)
"""What is put into the place of each value within a value."""
BODIES = 12
"""Bodies of one example with many members."""
_CONTROL = Control(request_id="r", deadline_ms=1000, max_prompt_tokens=1000, caller="k")
_MODELS = (
    *(
        msgspec.convert({"endpoint": "e", "context_tokens": 1000, "dialect": name}, Model)
        for name in dialects.DIALECTS
    ),
    Model(endpoint="e", context_tokens=1000, reasoning="none"),
    Model(endpoint="e", context_tokens=1000, reasoning="hidden", reasoning_budget=False),
)
NOTHING = History(unseal=Seals(("secret",), "k").open)
Read = Callable[[bytes, Mapping[str, str], Rules, bool], ReadRequest | Continued]
READERS: dict[str, Read] = {
    "/v1/chat/completions": lambda body, headers, rules, keeps: read_chat(
        body, headers, rules, keeps=keeps
    ),
    "/v1/completions": lambda body, headers, rules, _: read_completion(body, headers, rules),
    "/v1/messages": lambda body, headers, rules, _: read_message(body, headers, rules),
    "/v1/responses": lambda body, headers, rules, keeps: read_response(
        body, headers, rules, keeps=keeps, store_default=keeps, before=NOTHING if keeps else None
    ),
    "/v1/responses/compact": lambda body, headers, rules, keeps: read_compaction(
        body, headers, rules, keeps=keeps
    ),
}
_WAYS: tuple[tuple[Mapping[str, str], Rules, bool], ...] = (
    ({}, Rules(), True),
    ({"accept": "text/plain"}, Rules(strict=True), False),
    ({}, Rules(loose_tool_history=True), False),
)


def of_members(path: str) -> dict[str, list[Any]]:
    """Return the values that each member of a body may have."""
    members = VALUES.members(schema_of(path))
    return {
        name: list(itertools.islice(VALUES.right(schema), MOST)) for name, schema in members.items()
    }


def alone(path: str) -> Iterator[bytes]:
    """Yield bodies of which one member is hostile, or something within it is."""
    good = GOOD[path]
    for name, values in of_members(path).items():
        rest = {key: value for key, value in good.items() if key != name}
        yield msgspec.json.encode(rest)
        for value in (*values, *WRONG):
            yield msgspec.json.encode({**good, name: value})
        within = {place: value for value in values for place in places(value)}
        for place, value in within.items():
            for other in NESTED:
                yield msgspec.json.encode({**good, name: put(value, place, other)})
        first = msgspec.json.encode({**rest, name: values[0]})
        again = msgspec.json.encode({**rest, name: [{}]})
        yield first[:-1] + b"," + again[1:]  # one member twice


def together(path: str, chance: random.Random) -> Iterator[bytes]:
    """Yield bodies that have each pair of members, with values that are right alone."""
    values = of_members(path)
    for one, other in itertools.combinations(values, 2):
        pair = {name: chance.choice([*values[name], None]) for name in (one, other)}
        yield msgspec.json.encode({**GOOD[path], **pair})


def many(path: str, chance: random.Random) -> Iterator[bytes]:
    """Yield bodies with several members, of which one may be wrong."""
    values = of_members(path)
    for _ in range(BODIES):
        names = chance.sample(list(values), min(len(values), chance.randint(3, 8)))
        found = {name: chance.choice([*values[name], None]) for name in names}
        if chance.random() < 0.2:
            found[names[0]] = chance.choice(WRONG)
        yield msgspec.json.encode({**GOOD[path], **found})


def check(path: str, body: bytes) -> None:
    """Read a body as each kind of deployment does, for our container and one other kind of server.

    It is refused by an `APIError`, or a request that the chat's own type allows and our container
    takes.
    """
    for headers, rules, keeps in _WAYS:
        try:
            found = READERS[path](body, headers, rules, keeps)
            read = found.read(NOTHING) if isinstance(found, Continued) else found
        except APIError as error:
            _check_refusal(error, body)
            continue
        plain = msgspec.to_builtins(read.request)
        assert msgspec.convert(plain, ChatRequest) == read.request, body
        other = _MODELS[1 + crc32(body) % (len(_MODELS) - 1)]
        for model in (_MODELS[0], other):
            _check_server(read, model, body)


def _check_refusal(error: APIError, body: bytes) -> None:
    assert error.status == 400, body
    assert json.loads(error.body())["error"]["message"], body


def _check_server(read: ReadRequest, model: Model, body: bytes) -> None:
    dialect = dialects.find(model.dialect)
    try:
        served = read.named("m").served_by(model, dialect)
        dialect.check(served.request)
    except APIError as error:
        read.restate(error)
        _check_refusal(error, body)
        return
    sent = dialect.body(served.request, _CONTROL)
    if model.dialect == "sluice":
        asked = parse_invocation(sent)
        assert isinstance(asked, ContainerRequest), body
        asked.check_schemas()
    else:
        msgspec.json.decode(sent)


@pytest.mark.parametrize("path", READERS)
def test_one_hostile_member(path: str) -> None:
    """A body is refused by name, or means what the chat's own types allow, for its server."""
    for body in alone(path):
        check(path, body)


@pytest.mark.parametrize("path", READERS)
def test_pairs_of_members(path: str) -> None:
    """The same for each pair of members."""
    for body in together(path, random.Random(path)):
        check(path, body)


@pytest.mark.parametrize("path", READERS)
@given(seed=st.integers(0, 2**32))
def test_many_members(path: str, seed: int) -> None:
    """The same for any members together."""
    for body in many(path, random.Random(seed)):
        check(path, body)


@pytest.mark.parametrize("path", GOOD)
async def test_every_body_gets_an_answer(path: str) -> None:
    """No body is a fault, each refusal has the form of its API, and no request stays open."""
    # Of the others, the readers have tried the pairs.
    pairs: Iterable[bytes] = () if path in READERS else together(path, random.Random(path))
    with hostile_app() as (app, books):
        for body in itertools.chain(alone(path), pairs):
            status, said = await call(app, body, path=path)
            wrong = complaint(path, status, said)
            assert not wrong, (wrong, body, said[:300])
            assert not books.open, body
            assert not books.refused, (books.refused, body)
