"""Requests of an admin with hostile values: ids, queries, and bodies whose members are wrong."""

import itertools
import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from fastapi import FastAPI

from lambda_fn.control import services as control
from lambda_fn.control.app import PREFIX, Middleware
from lambda_fn.control.auth import INVOKED, Gate
from lambda_fn.control.services import Services
from tests.support.asgi import request
from tests.support.hostile_calls import complaint
from tests.support.hostile_values import WRONG, Values
from tests.support.network import Network, create_table, delete_table, operate
from tests.support.stream_tables import stream_table

ODD = ("x", "\0", "..", "a" * 2000, "e\u0301", "resp_" + "0" * 26, "0" * 26, "A" * 12, "\\", "{id}")
VALUES = (
    *(
        "",
        "0",
        "-1",
        "1000",
        "1e3",
        "\0",
        "9" * 30,
        "x" * 3000,
        "true",
        "2026-13-40",
        "\uff11",
        "NaN",
    ),
    *(
        "0000-00-00",
        "9999-12-31T23",
        "2026-11-21T24",
        "-2026-11-21",
        "day",
        "inf",
        "\n",
        "model,model",
    ),
)
RAW = (
    *(b"", b"{", b"null", b"[]", b"1", b"\xff", b"\xef\xbb\xbf{}", b"9" * 5000, b"[" * 100_000),
    *(
        rb'{"\ud800":1}',
        rb'{"name":"\udcff"}',
        b'{"name":NaN}',
        b'{"x":Infinity}',
        b'{"name":1e400}',
    ),
    *(b'{"name":' + b"9" * 5000 + b"}", b'{"' + b"k" * 3000 + b'":1}', rb'{"\u0000":1}'),
)
NUMBERS = tuple(msgspec.Raw(it) for it in (b'"1_0"', b"1e-400", b"1e20", b'"1e5"', b'["::/0"]'))
FEW = 4


class Requests:
    """The admin API over two tables, in this process."""

    def __init__(self, api: FastAPI) -> None:
        """Create the tables."""
        self.names = [f"{name}-{uuid.uuid4().hex}" for name in ("usage", "streams")]
        create_table(self.names[0])
        operate("CreateTable", **stream_table(self.names[1]))
        network = Network()
        usage, streams = map(network.table, self.names)
        services = Services(usage, ("m", "other"), right="all", streams=streams)
        api.state.services = services
        self._app = Middleware(api, Gate(None, ("o",), "all"), services.trail)

    async def __call__(
        self, method: str, path: str, body: bytes = b"", *, query: str = "", kind: str = "json"
    ) -> bytes:
        """Make a request, and check that its response has a form that the API promises."""
        reply = await request(
            self._app,
            method,
            path,
            body,
            headers=[(b"content-type", f"application/{kind}".encode())],
            query=query.encode(),
            event={INVOKED: True},
        )
        status, said = reply.status, reply.body
        wrong = "" if status < 400 or b"This takes over" in said else complaint(path, status, said)
        assert not wrong, (wrong, method, path[:100], query[:100], body[:200], said[:200])
        return said


@pytest.fixture
async def ask(api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Requests]:
    """Yield the API. What reads many hours is given up at once."""
    monkeypatch.setattr(control, "SECONDS", 0.2)
    found = Requests(api)
    yield found
    for name in found.names:
        delete_table(name)


async def test_no_request_is_a_fault(ask: Requests, api: FastAPI) -> None:
    """Each operation takes or refuses any id, query and body, in the API's own form."""
    document = json.loads(json.dumps(api.openapi()))
    values, chance = Values(document["components"]["schemas"]), random.Random(1)
    made = json.loads(await ask("POST", f"{PREFIX}/keys", b'{"name":"a"}'))["id"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", ())
            asked = [it["name"] for it in parameters if it["in"] == "query"]
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            target = _filled(path, made)
            for odd in ODD if target != path else ():
                await ask(method.upper(), _filled(path, odd), b"{}" if schema else b"")
            for name in (*asked, "x"):
                for value in chance.sample(VALUES, FEW):
                    query = f"{name}={quote(value)}"
                    await ask(method.upper(), target, b"{}" if schema else b"", query=query)
            if schema is not None:
                for raw in RAW:
                    await ask(method.upper(), target, raw)
                await ask(method.upper(), target, b'{"name":"a"}', kind="x-www-form-urlencoded")
                for body in _bodies(values, schema, chance):
                    await ask(method.upper(), target, body)


def _filled(path: str, name: str) -> str:
    return "/".join(name if part.startswith("{") else part for part in path.split("/"))


def _bodies(values: Values, schema: Any, chance: random.Random) -> list[bytes]:
    """Return bodies of which one member has another value, or two have."""
    base = values.least(schema)
    members = {
        name: list(itertools.islice(values.right(member), FEW))
        for name, member in values.members(schema).items()
    }
    found = [
        {**base, name: value}
        for name, right in members.items()
        for value in (*right, *chance.sample(WRONG, FEW), *NUMBERS)
    ]
    for one, other in chance.sample(list(itertools.combinations(members, 2)), len(members) // 2):
        pair = {name: chance.choice([*members[name], None]) for name in (one, other)}
        found.append({**base, **pair})
    return [msgspec.json.encode(body) for body in found]
