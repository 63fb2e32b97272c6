"""Kept responses in the admin API: metadata, cancel and deletion."""

import time
from typing import Any

import pytest

from lambda_fn.aws.dynamodb import Table
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening, opening_item
from lambda_fn.metering.money import Prices
from lambda_fn.stream_log.heads import StoredHead, read_head
from tests.support.admin import Admin, Make
from tests.support.function import CREDENTIALS
from tests.support.kept import Kept, head_of


@pytest.fixture
def kept(admin: Admin, moto_url: str, http: Client, streams: Any) -> Kept:
    """Add a StreamTable to the admin API, and return what writes responses into it."""
    table = Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )
    admin.services.streams = table
    admin.services.now = time.time
    return Kept(table)


async def opened(admin: Admin, key_id: str, name: str) -> None:
    """Put the ledger item of a request."""
    opening = Opening(name, key_id, "m", 10, 0, Prices(0, 0))
    await admin.services.table.put(opening_item(opening))


async def whole(admin: Admin, kept: Kept, key_id: str) -> StoredHead:
    """Put a response that has ended, with its ledger item."""
    stored = await kept.whole(head_of(echo="a prompt"), owner=key_id, metadata={"user": "u"})
    await opened(admin, key_id, stored.response_id)
    return stored


async def test_a_response_is_shown_without_its_content(
    admin: Admin, make: Make, kept: Kept
) -> None:
    """A list and a look-up have the same fields, none of which the client or the model wrote."""
    key = (await make())["id"]
    stored = await whole(admin, kept, key)
    shown = await admin.ok("GET", f"/responses/chatcmpl-{stored.response_id}")
    assert shown == {
        "object": "response",
        "id": stored.response_id,
        "key": key,
        "created_at": stored.created,
        "model": "m",
        "form": "chat_stream",
        "status": "completed",
        "streamable": True,
        "expires_at": stored.expires,
        "metadata": {"user": "u"},
    }
    page = await admin.ok("GET", "/responses", key=key)
    assert (page["data"], page["has_more"], page["next"]) == ([shown], False, None)
    assert (await admin.ok("GET", "/responses", key=key, status="failed"))["data"] == []
    later = stored.created + 1
    assert (await admin.ok("GET", "/responses", key=key, since=later))["data"] == []


async def test_a_running_response_is_asked_to_end(admin: Admin, make: Make, kept: Kept) -> None:
    """The flag stands in its ledger item, kept or not, and the trail says who set it. What has
    ended stays as it is.
    """
    key = (await make())["id"]
    name = new_request_id()
    await opened(admin, key, name)
    asked = await admin.ok("POST", f"/responses/{name}/cancel")
    assert asked == {"object": "response", "id": name, "cancelling": True}
    item = await admin.services.table.get(ledger_key(name))
    assert item is not None
    assert "cancel" in item
    [entry] = (await admin.ok("GET", "/audit", key=key))["data"][:1]
    assert (entry["action"], entry["after"]) == ("cancelResponse", {"cancelling": True})
    await admin.services.table.put({**item, "state": "SETTLED"})
    assert (await admin.ok("POST", f"/responses/{name}/cancel"))["cancelling"] is False


async def test_a_deleted_response_is_hidden(admin: Admin, make: Make, kept: Kept) -> None:
    """It does not exist for anybody from then on, and the trail says who did it."""
    key = (await make())["id"]
    stored = await whole(admin, kept, key)
    await admin.ok("DELETE", f"/responses/{stored.response_id}")
    assert await read_head(kept.table, stored.response_id, now=time.time()) is None
    for method, path in (("GET", ""), ("DELETE", "")):
        reply = await admin.client.request(
            method, f"/admin/v1/responses/{stored.response_id}{path}"
        )
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")
    assert (await admin.ok("GET", "/responses", key=key))["data"] == []
    [entry] = (await admin.ok("GET", "/audit", key=key))["data"][:1]
    assert (entry["action"], entry["asked"]) == ("deleteResponse", {"response": stored.response_id})


async def test_a_running_response_is_not_deleted(admin: Admin, make: Make, kept: Kept) -> None:
    """Its producer still writes."""
    key = (await make())["id"]
    stored = await kept.begin(owner=key)
    await opened(admin, key, stored.response_id)
    reply = await admin.client.delete(f"/admin/v1/responses/{stored.response_id}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "response_in_progress")


@pytest.mark.parametrize("name", ["0" * 26, "x" * 26, "é" * 26, "a" * 61])
async def test_an_id_that_is_none(admin: Admin, kept: Kept, name: str) -> None:
    """It is unknown, or refused for its form."""
    reply = await admin.client.get(f"/admin/v1/responses/{name}")
    assert reply.status_code in {400, 404}


async def test_a_deployment_that_keeps_nothing_says_so(admin: Admin, make: Make) -> None:
    """Without the table there are no responses, and the setting is named."""
    key = (await make())["id"]
    reply = await admin.client.get(f"/admin/v1/responses?key={key}")
    assert (reply.status_code, "persistence" in reply.text) == (404, True)
