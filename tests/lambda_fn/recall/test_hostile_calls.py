"""Calls of a hostile key-holder: odd ids, ids of other keys, queries and headers of any content.

The paths are those of the API's own document, so a new endpoint is tried without a change here.
"""

import itertools
import json
import random
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from lambda_fn import ids
from lambda_fn.aws.attributes import wrap_all
from lambda_fn.aws.signing import Credentials
from lambda_fn.ids import key_id_of, new_request_id
from lambda_fn.metering import accounts, ledger
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.recall.app import create_app
from lambda_fn.settings import Model, Settings
from tests.support.asgi import Reply, request
from tests.support.hostile_calls import COMPONENTS, DOCUMENT, GOOD, complaint
from tests.support.hostile_values import WRONG, Values
from tests.support.kept import Kept, head_of
from tests.support.network import Network, all_items, create_table, delete_table, operate
from tests.support.stream_tables import stream_table

MINE, THEIRS = ids.new_key(), ids.new_key()
_ITEM = {"type": "message", "role": "user", "content": "x"}
PATHS = {
    path: [name.upper() for name in operations if name in ("get", "post", "delete")]
    for path, operations in DOCUMENT["paths"].items()
    if path not in GOOD and not path.startswith("/v1/models")
}
"""The paths of the recall function, and their methods."""
ODD = (
    *(
        "x",
        "\0",
        "..",
        "resp_",
        "conv_" + "9" * 3000,
        "HEAD",
        "\U0001f468\u200d",
        "e\u0301",
        "{id}",
    ),
    *(
        "resp_" + "0" * 26,
        "Z" * 26,
        "01" + "\uff11" * 24,
        " ",
        "a b",
        "\\",
        "\r\nx: y",
        "#",
        "null",
    ),
)
"""What stands in the place of an id."""
VALUES = (
    *("", "0", "1", "-1", "101", "1e3", "1.0", "+1", "\0", "9" * 16, "9" * 5000, "x" * 5000),
    *("true", "asc", "completed", "a b", "\uff11", "[]", "null", "NaN", "\n", "\U0001f468"),
)
RAW = (b"limit=%F0%9F", b"after=%ED%A0%80", b"\xff=\xff", b"=", b"&&;", b"limit=1&limit=2", b"%00")
NAMES = (
    "include[]",
    "before",
    "x",
    "\0",
    "metadata[k]",
    "metadata[]",
    "metadata[" + "x" * 300 + "]",
)
"""Parameters beside those of the document."""
MOST = 40
"""Values of a member of a body that are tried."""
BODIES = (
    *(
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b"{}",
        b'{"items":null}',
        b'{"items":[]}',
        b'{"items":1}',
    ),
    *(b'{"items":[{}]}', b'{"items":[1e400]}', b'{"metadata":1}', b'{"metadata":{"":"x"}}'),
    *(
        rb'{"metadata":{"a":"\ud800"}}',
        rb'{"metadata":{"\u0000":"x"}}',
        b'{"metadata":{"a":1e400}}',
    ),
    *(b'{"items":[{"type":"item_reference","id":"msg_x"}]}', b'{"items":' + b"[" * 500),
    *(b'{"items":[{"role":"user","content":"x","content":[]}]}', b'{"items":' + b"9" * 5000 + b"}"),
)
HEADERS = {
    "content-encoding": ("gzip", "br", "gzip, gzip", "*", ",", "x" * 5000),
    "content-type": ("text/plain", "application/json; charset=utf-16", "multipart/form-data"),
    "content-length": ("-1", "x", "9" * 20, "\u00b2"),
    "last-event-id": ("", "x", "-1", "9" * 17, "\u00b2", "1e3"),
    "authorization": ("", "Bearer", "Bearer sk-x", "Basic Og==", "Bearer " + "x" * 5000, "\u00b2"),
    "x-api-key": ("", "x", "\u00b2"),
    "anthropic-version": ("", "x"),
    "traceparent": ("x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"),
    "accept": ("text/plain;q=nan", ";", "*/*;q=0"),
}


class Calls:
    """The recall function over two tables, with two keys, in this process."""

    def __init__(self) -> None:
        """Create the tables."""
        self.usage, self.streams = (f"{name}-{uuid.uuid4().hex}" for name in ("usage", "streams"))
        create_table(self.usage)
        operate("CreateTable", **stream_table(self.streams))
        for key in (MINE, THEIRS):
            account = accounts.new_account(key, name="t", now=1)
            operate("PutItem", TableName=self.usage, Item=wrap_all(account))
        network = Network()
        self.kept = Kept(network.table(self.streams))
        self.ledger = network.table(self.usage)
        settings = Settings(
            region="eu-west-1",
            usage_table=self.usage,
            stream_table=self.streams,
            models={"m": Model(endpoint="e", context_tokens=1000)},
            origin_secrets=("o",),
            dynamodb_url="https://dynamodb.eu-west-1.amazonaws.com",
            sagemaker_url="http://s",
        )
        self._app = create_app(
            settings,
            network,  # type: ignore[arg-type] # as far as a table needs a client
            lambda: Credentials("AKID", "SECRET", ""),
        )

    async def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: bytes = b"",
        headers: dict[str, str] | None = None,
        key: str | None = MINE,
    ) -> Reply:
        """Make a call, and check that its response has a form that the API promises."""
        given = {"x-sluice-origin-secret": "o", **(headers or {})}
        if key is not None:
            given.setdefault("authorization", f"Bearer {key}")
        sent = [(it.encode("latin-1"), to.encode("latin-1")) for it, to in given.items()]
        reply = await request(self._app, method, path, body, headers=sent, query=query)
        if "anthropic-version" not in given:
            wrong = complaint(path, reply.status, reply.body)
            assert not wrong, (wrong, method, path[:100], query[:100], body[:100], reply.body[:200])
        assert reply.status < 500, reply
        assert reply.headers["x-request-id"].startswith("req_")
        return reply

    def items(self) -> list[Any]:
        """Return all items of StreamTable, and those of the ledger."""
        found = [it for it in all_items(self.usage) if it["pk"].startswith("LEDGER#")]
        return sorted([*all_items(self.streams), *found], key=lambda it: (it["pk"], it["sk"]))

    async def own(self, key: str) -> dict[str, str]:
        """Make one of each thing that a key can have. Return their ids by what they are."""
        owner = key_id_of(key)
        assert owner is not None
        new = json.dumps({"items": [_ITEM], "metadata": {"a": "b"}}).encode()
        made = await self("POST", "/v1/conversations", new, key=key)
        name = json.loads(made.body)["id"]
        listed = await self("GET", f"/v1/conversations/{name}/items", key=key)
        heads = {form: head_of(form, **_numbered(form)) for form in _FORMS}
        whole = {form: await self.kept.whole(head, owner=owner) for form, head in heads.items()}
        running = await self.kept.begin(
            head_of("responses_stream", **_numbered("responses_stream")), owner=owner
        )
        unlogged = Opening(new_request_id(), owner, "m", 100, 0, Prices(0, 0))
        await self.ledger.put(ledger.opening_item(unlogged), condition=ledger.NEW)
        return {
            "conversation": name,
            "item": json.loads(listed.body)["data"][0]["id"],
            **{form: stored.response_id for form, stored in whole.items()},
            "running": running.response_id,
            "unlogged": unlogged.request_id,
        }


_FORMS = ("chat_stream", "responses_stream", "messages_stream", "plain_text")


def _numbered(form: str) -> dict[str, Any]:
    return {"numbered": True} if form.endswith("_stream") else {}


@pytest.fixture(scope="module")
def calls() -> Iterator[Calls]:
    """Yield the function."""
    found = Calls()
    yield found
    delete_table(found.usage)
    delete_table(found.streams)


def filled(path: str, name: str, item: str) -> str:
    """Return a path with ids in the places of its parameters."""
    return path.replace("{id}", name).replace("{item}", item)


async def test_no_call_reaches_what_another_key_has(calls: Calls) -> None:
    """Each call answers that there is nothing of this id, and changes nothing."""
    theirs, mine = await calls.own(THEIRS), await calls.own(MINE)
    before = calls.items()
    for path, methods in PATHS.items():
        if "{id}" not in path:
            continue
        for method, (what, name) in itertools.product(methods, theirs.items()):
            asked = [filled(path, name, theirs["item"])]
            if "{item}" in path:  # another key's item of an own conversation
                asked.append(filled(path, mine["conversation"], theirs["item"]))
            for each in asked:
                body = b'{"metadata":{},"items":[{"role":"user","content":"x"}]}'
                reply = await calls(method, each, body if path.endswith(("{id}", "items")) else b"")
                assert reply.status in {400, 404}, (method, path, what, reply)
    assert calls.items() == before
    listed = json.loads((await calls("GET", "/v1/sluice/streams")).body)["data"]
    assert listed
    assert not {it["id"] for it in listed} & set(theirs.values())


async def test_odd_ids_are_unknown(calls: Calls) -> None:
    """Whatever stands in the place of an id, the call is refused, and changes nothing."""
    before = calls.items()
    for path, methods in PATHS.items():
        if "{id}" in path:
            for method, name in itertools.product(methods, ODD):
                reply = await calls(method, filled(path, name, name), b'{"metadata":{}}')
                assert reply.status in {400, 404, 405}, (method, path, name, reply)
    assert calls.items() == before


async def test_queries_of_any_content(calls: Calls) -> None:
    """A query is refused, or has its meaning. No value is a fault of the service."""
    mine, chance = await calls.own(MINE), random.Random(1)
    for path, operations in DOCUMENT["paths"].items():
        if "GET" not in PATHS.get(path, ()):
            continue
        known = [it["name"] for it in operations["get"].get("parameters", ())]
        name = mine["conversation"] if "conversations" in path else mine["responses_stream"]
        target = filled(path, name, mine["item"])
        for parameter in (*known, *NAMES):
            values = VALUES if parameter in known else chance.sample(VALUES, 3)
            for value in values:
                if parameter != "wait" or not value.isdecimal():  # it would wait
                    query = f"{quote(parameter)}={quote(value)}".encode()
                    await calls("GET", target, query=query)
        for query in RAW:
            await calls("GET", target, query=query)


async def test_bodies_of_any_content(calls: Calls) -> None:
    """A body is refused, or is what the endpoint takes."""
    mine = await calls.own(MINE)
    values = Values(COMPONENTS)
    for path, methods in PATHS.items():
        if "POST" not in methods:
            continue
        name = mine["conversation"] if "conversations" in path else mine["chat_stream"]
        operation, bodies = DOCUMENT["paths"][path]["post"], list(BODIES)
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            for member, described in values.members(schema).items():
                found = itertools.islice(values.right(described), MOST)
                bodies += [msgspec.json.encode({member: it}) for it in (*found, *WRONG)]
        for body in bodies:
            await calls("POST", filled(path, name, ""), body)


async def test_headers_of_any_content(calls: Calls) -> None:
    """A header is refused, ignored, or has its meaning."""
    mine = await calls.own(MINE)
    for name, values in HEADERS.items():
        for value in values:
            for method, path in (
                ("GET", f"/v1/sluice/streams/{mine['chat_stream']}"),
                ("POST", "/v1/conversations"),
            ):
                await calls(method, path, b"{}", headers={name: value})
