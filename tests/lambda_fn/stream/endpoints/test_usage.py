"""`GET /v1/usage`, as the holder of a key sees it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from lambda_fn.http.responses import EXCEPTION_HANDLERS
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.endpoints import usage
from lambda_fn.stream.endpoints.usage import KeyUsage
from tests.support.admin import NOW, Admin


@pytest.fixture
async def client(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the endpoint, at the time at which the keys were used."""
    monkeypatch.setattr(usage, "time", type("Clock", (), {"time": staticmethod(lambda: NOW)}))
    table = admin.services.table
    endpoint = KeyUsage(table, Gate(table)).__call__
    app = Starlette(routes=[Route("/v1/usage", endpoint)], exception_handlers=EXCEPTION_HANDLERS)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://stream"
    ) as found:
        yield found


async def shown(client: httpx.AsyncClient, secret: str, **query: Any) -> dict[str, Any]:
    """Return the endpoint's response for the holder of a key."""
    answer = await client.get(
        "/v1/usage", params=query, headers={"authorization": f"Bearer {secret}"}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_limits_and_totals_are_exact_and_rows_as_far_as_rolled(
    client: httpx.AsyncClient, admin: Admin, used: dict[str, Any]
) -> None:
    """Spent and remaining amounts are current.

    Rows by day and model are of closed hours, and the response has the end of these hours.
    """
    await admin.ok("PATCH", f"/keys/{used['first']}", {"limits": {"tokens_per_day": 100}})
    found = await shown(client, used["first_secret"])
    assert found["key"]["id"] == used["first"]
    # 7 + 30 and 7 + 40 tokens today
    day = {"limit": 100, "spent": 84, "left": 16, "resets_at": 1795305600}
    assert found["limits"]["tokens_per_day"] == day
    assert (found["totals"]["requests"], found["totals"]["completion_tokens"]) == (4, 100)
    assert (found["data"], found["complete_until"]) == ([], None)
    await admin.ok("POST", "/rollups/rebuild", {"since": "2026-11-20", "until": "2026-11-21T06"})
    admin.boto.put_item(
        Item={"pk": "USAGE", "sk": "ROLLED", "since": "2026-11-20T00", "until": "2026-11-21T06"}
    )
    found = await shown(client, used["first_secret"])
    assert found["complete_until"] == "2026-11-21T06"
    assert [(row["day"], row["model"], row["completion_tokens"]) for row in found["data"]] == [
        ("2026-11-20", "demo", 10),
        ("2026-11-20", "other", 20),
        ("2026-11-21", "demo", 30),
    ]
    assert (await shown(client, used["second_secret"]))["data"] == []


async def test_pages_are_of_one_key(
    client: httpx.AsyncClient, admin: Admin, used: dict[str, Any]
) -> None:
    """Rows come page by page. A page token of another key or range is rejected."""
    await admin.ok("POST", "/rollups/rebuild", {"since": "2026-11-20", "until": "2026-11-21T06"})
    admin.boto.put_item(
        Item={"pk": "USAGE", "sk": "ROLLED", "since": "2026-11-20T00", "until": "2026-11-21T06"}
    )
    page = await shown(client, used["first_secret"], limit=2)
    assert (len(page["data"]), page["has_more"]) == (2, True)
    rest = await shown(client, used["first_secret"], limit=2, after=page["next"])
    assert ([row["day"] for row in rest["data"]], rest["next"]) == (["2026-11-21"], None)
    for secret, query in (
        (used["second_secret"], {"after": page["next"]}),
        (used["first_secret"], {"after": page["next"], "since": "2026-11-20"}),
        (used["first_secret"], {"after": page["next"][:-2]}),
    ):
        answer = await client.get(
            "/v1/usage", params=query, headers={"authorization": f"Bearer {secret}"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_page_token")


async def test_the_key_is_checked_before_the_query(
    client: httpx.AsyncClient, used: dict[str, Any]
) -> None:
    """An invalid query is a 401 without a key. With a key it is a 400 that names the parameter."""
    for headers in ({}, {"authorization": "Bearer sk-wrong"}):
        answer = await client.get("/v1/usage", params={"colour": "blue"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    headers = {"authorization": f"Bearer {used['first_secret']}"}
    for query, param in (
        ({"colour": "blue"}, "colour"),
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"since": "2026-11-21T06"}, "since"),
        ({"since": "2026-11-31"}, "since"),
        ({"since": "2020-01-01"}, "since"),
        ({"until": "2026-11-01"}, "since"),
        ({"key": used["second"]}, "key"),
    ):
        answer = await client.get("/v1/usage", params=query, headers=headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
