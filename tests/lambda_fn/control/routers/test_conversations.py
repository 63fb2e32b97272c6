"""Conversations in the admin API: what there is, and their deletion."""

import time
from typing import Any

import pytest

from lambda_fn.aws.dynamodb import Table
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log.conversations import Conversations
from lambda_fn.stream_log.removal import unfinished
from tests.support.admin import Admin, Make, entries
from tests.support.function import CREDENTIALS


@pytest.fixture
def table(admin: Admin, moto_url: str, http: Client, streams: Any) -> Table:
    """Add a StreamTable to the admin API, and return it."""
    table = Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )
    admin.services.streams = table
    admin.services.now = time.time
    return table


async def conversation(table: Table, key: str, now: float) -> str:
    """Put a conversation with an item, and return its id."""
    name = new_request_id()
    kept = Conversations(table, days=30, now=lambda: now)
    await kept.create(name, key, [{"id": "msg_a", "text": "a secret"}], {"user": "u"})
    return name


async def test_conversations_are_listed_without_items(
    admin: Admin, make: Make, table: Table
) -> None:
    """A key's conversations come newest first, page by page; those of others do not."""
    key, now = (await make())["id"], time.time()
    names = [await conversation(table, key, now + number) for number in range(3)]
    await conversation(table, "b" * 12, now)
    first = await admin.ok("GET", "/conversations", key=key, limit=2)
    assert [it["id"] for it in first["data"]] == [names[2], names[1]]
    assert first["data"][0].keys() == {
        *("object", "id", "key", "created_at", "expires_at", "metadata")
    }
    assert (first["data"][0]["metadata"], first["has_more"]) == ({"user": "u"}, True)
    rest = await admin.ok("GET", "/conversations", key=key, limit=2, after=first["next"])
    assert [it["id"] for it in rest["data"]] == [names[0]]
    later = await admin.ok("GET", "/conversations", key=key, since=int(now) + 2)
    assert [it["id"] for it in later["data"]] == [names[2]]


async def test_a_conversation_is_deleted(admin: Admin, make: Make, table: Table) -> None:
    """It is hidden at once, for the sweeper to remove, and the trail tells."""
    key = (await make())["id"]
    name = await conversation(table, key, time.time())
    path = f"/conversations/conv_{name}"
    await admin.refused(404, "DELETE", path, key="b" * 12)
    assert await admin.ok("DELETE", path, key=key) == {
        "object": "conversation",
        "id": name,
        "deleted": True,
    }
    assert [it["pk"] async for it in unfinished(table)] == [f"V#{name}"]
    await admin.refused(404, "DELETE", path, key=key)
    assert (await admin.ok("GET", "/conversations", key=key))["data"] == []
    asked = [it["asked"] for it in await entries(admin, key=key)]
    assert {"conversation": name} in asked


async def test_a_deployment_that_keeps_nothing(admin: Admin) -> None:
    """The setting is named."""
    error = await admin.refused(404, "GET", "/conversations", key="a" * 12)
    assert "persistence" in error["message"]
