"""The audit trail: entries for each change, after a crash, and in a flood."""

import json
from typing import Any, NoReturn

import pytest
from starlette.types import ASGIApp

from lambda_fn import ids
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.control.auth import INVOKED
from lambda_fn.control.trail import Identity
from tests.support.admin import NOW, Admin, Make, entries, stored, through

READS = {"reconcile", "reconcileHours", "reconcileKeys"}
OF_RESPONSES = {"cancelResponse", "deleteResponse", "deleteConversation"}
"""The changes to what is kept; `test_responses` and `test_conversations` have their entries."""
HOURS = {"since": "2026-11-20", "until": "2026-11-21"}


async def test_every_change_is_recorded(admin: Admin, make: Make) -> None:
    """Each operation that changes anything has an entry, under the operation's documented name."""
    key = await make()
    path = f"/keys/{key['id']}"
    calls: dict[str, tuple[str, str, Any]] = {
        "updateKey": ("PATCH", path, {"owner": "b"}),
        "updateBudget": ("PATCH", f"{path}/budget", {"tokens_per_day": 5}),
        "rotateKey": ("POST", f"{path}/rotate", {}),
        "revokeKey": ("POST", f"{path}/revoke", None),
        "deleteKey": ("DELETE", path, None),
        "rebuildRollups": ("POST", "/rollups/rebuild", HOURS),
        "replay": ("POST", "/replay", {"lines": ["x"]}),
        "stopService": ("POST", "/stop", {"reason": "A test."}),
        "resumeService": ("DELETE", "/stop", None),
    }
    of_no_key = {"rebuildRollups", "replay", "stopService", "resumeService"}
    for call in calls.values():
        await admin.ok(*call)
    trail = await entries(admin)
    operations = {
        it["operationId"]
        for methods in admin.document["paths"].values()
        for method, it in methods.items()
        if method != "get"
    }
    assert (
        {it["action"] for it in trail} == operations - READS - OF_RESPONSES == {*calls, "createKey"}
    )
    assert [it["action"] for it in trail] == [*reversed(calls), "createKey"]
    for it in trail:
        assert (it["outcome"], it["code"]) == ("done", None)
        assert (it["actor"], it["address"], it["invocation"]) == ("secret:v1", "192.0.2.1", "i-1")
        assert it["key"] == (None if it["action"] in of_no_key else key["id"])


async def test_before_and_after(admin: Admin, make: Make) -> None:
    """The entry of a change has the changed fields before and after. A new key has all fields."""
    key = await make(owner="a", limits={"tokens_per_day": 5})
    await admin.ok(
        "PATCH",
        f"/keys/{key['id']}",
        {"owner": "b", "name": "app", "limits": {"tokens_per_day": 9}},
    )
    await admin.ok("PATCH", f"/keys/{key['id']}/budget", {"cost_per_day": "0.5"})
    budget, change, create = await entries(admin)
    assert create["after"]["owner"] == "a"
    assert (create["before"], create["after"]["limits.tokens_per_day"]) == ({}, 5)
    assert change["asked"] == {"owner": "b", "name": "app", "limits": {"tokens_per_day": 9}}
    assert change["before"] == {"owner": "a", "limits.tokens_per_day": 5}
    assert change["after"] == {"owner": "b", "limits.tokens_per_day": 9}
    assert (budget["before"], budget["after"]) == (
        {"limits.cost_per_day": None},
        {"limits.cost_per_day": "0.5"},
    )


async def test_what_was_refused_is_recorded(admin: Admin, make: Make) -> None:
    """Rejected changes are in the trail with their errors.

    Examples are the change of an unknown key, and one rotation too many.
    """
    key = await make()
    nobody = ids.new_key_id()
    await admin.refused(404, "DELETE", f"/keys/{nobody}")
    for _ in range(4):
        await admin.ok("POST", f"/keys/{key['id']}/rotate", {})
    await admin.refused(409, "POST", f"/keys/{key['id']}/rotate", {})
    last, *_, first, _ = await entries(admin)
    assert (last["outcome"], last["code"]) == ("refused", "rotation_in_grace")
    assert (first["key"], first["outcome"], first["code"]) == (nobody, "refused", "key_not_found")


async def test_nothing_is_done_that_cannot_be_recorded(admin: Admin, make: Make) -> None:
    """While the trail cannot be written, no key is created or changed."""
    created = await make(owner="a")
    put = admin.services.table.put

    async def fail(*_: Any, **__: Any) -> NoReturn:
        raise MeterUnavailable

    admin.services.table.put = fail  # type: ignore[method-assign]
    for call in (
        ("POST", "/keys", {"name": "n"}),
        ("PATCH", f"/keys/{created['id']}", {"owner": "b"}),
    ):
        await admin.refused(503, *call)
    admin.services.table.put = put  # type: ignore[method-assign]
    assert [key["owner"] for key in (await admin.ok("GET", "/keys"))["data"]] == ["a"]


@pytest.mark.parametrize("lost", ["change", "record"])
async def test_what_was_cut_off_is_seen(admin: Admin, make: Make, lost: str) -> None:
    """An action that was killed is in the trail as unknown.

    It may have been killed before its change, or before its end was recorded.
    """
    key = await make(owner="a")
    table = admin.services.table
    put, update = table.put, table.update

    class Killed(BaseException):
        """The function's process has ended."""

    async def no_record(item: Any, **options: Any) -> None:
        if item["sk"].endswith("#done"):
            raise MeterUnavailable
        await put(item, **options)

    async def no_change(*_: Any, **__: Any) -> NoReturn:
        raise Killed

    table.put = no_record  # type: ignore[method-assign]
    if lost == "change":
        table.update = no_change  # type: ignore[method-assign]
    try:
        await admin("PATCH", f"/keys/{key['id']}", {"owner": "b"})
    except Killed:
        assert lost == "change"
    table.put, table.update = put, update  # type: ignore[method-assign]
    [entry, _] = await entries(admin)
    assert (entry["action"], entry["outcome"], entry["asked"]) == (
        "updateKey",
        "unknown",
        {"owner": "b"},
    )
    owner = (await admin.ok("GET", f"/keys/{key['id']}"))["owner"]
    assert owner == ("a" if lost == "change" else "b")


async def test_no_secret_is_in_the_trail(admin: Admin, make: Make) -> None:
    """The trail never has a key or its hash, after creating, rotating and revoking."""
    key = await make()
    rotated = await admin.ok("POST", f"/keys/{key['id']}/rotate", {})
    await admin.ok("POST", f"/keys/{key['id']}/revoke")
    last = await admin.ok("POST", f"/keys/{key['id']}/rotate", {})
    secrets = [it["secret"] for it in (key, rotated, last)]
    await admin.ok("DELETE", f"/keys/{key['id']}")
    text = str(stored(admin)) + json.dumps(await entries(admin))
    for secret in secrets:
        assert secret[16:] not in text
        assert ids.hash_key(secret) not in text


async def test_pages_and_filters(admin: Admin, make: Make) -> None:
    """Pages have every entry once, over several days.

    Filters by key, actor and time leave out all others.
    """
    first = await make("first")
    for _ in range(4):
        await make()
    await admin.ok("DELETE", f"/keys/{first['id']}")
    trail = admin.services.trail
    for at, actor in ((NOW - 86_400, "iam:keys"), (NOW - 2 * 86_400, "iam:all")):
        admin.services.now = lambda at=at: at  # type: ignore[misc]
        async with trail.change(Identity(ids.new_request_id(at), actor, None, None), "createKey"):
            pass
    admin.services.now = lambda: NOW
    whole = await entries(admin)
    assert len(whole) == 8
    for limit in (1, 3, 8):
        rows, after = [], None
        while True:
            query = {"limit": limit} if after is None else {"limit": limit, "after": after}
            page = await admin.ok("GET", "/audit", **query)
            rows += page["data"]
            after = page["next"]
            if after is None:
                break
        assert rows == whole
    assert [it["action"] for it in await entries(admin, key=first["id"])] == [
        "deleteKey",
        "createKey",
    ]
    assert [it["actor"] for it in await entries(admin, actor="iam")] == ["iam:keys", "iam:all"]
    assert [it["actor"] for it in await entries(admin, actor="iam:all")] == ["iam:all"]
    assert await entries(admin, actor="ia") == []
    assert [it["actor"] for it in await entries(admin, since="2026-11-20", until="2026-11-21")] == [
        "iam:keys"
    ]
    assert (await admin.refused(400, "GET", "/audit", since="yesterday"))["param"] == "since"
    assert (await admin.refused(400, "GET", "/audit", key="sk-x"))["param"] == "key"


async def test_a_flood_of_refused_sign_ins_fills_no_table(
    admin: Admin, api: ASGIApp, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a flood of wrong secrets, the first of a minute has an entry.

    The next entry counts the others, and the log has all of them.
    """
    event = {
        "x-sluice-origin-secret": "origin",
        "authorization": "Bearer guess",
        "x-forwarded-for": "x, 203.0.113.9",
    }
    async with through(api, admin, {}) as client:
        for number in range(60):
            admin.services.now = lambda number=number: NOW - NOW % 60 + number / 50 * 60  # type: ignore[misc]
            assert (
                await client.get("/keys", headers=event)
            ).status_code == 403  # this function accepts no secret
    items = sorted(stored(admin), key=lambda item: item["at"])
    assert [(item["action"], item["code"], int(item["attempts"])) for item in items] == [
        ("signIn", "iam_only", 1),
        ("signIn", "iam_only", 50),
    ]
    assert items[0]["address"] == "203.0.113.9"
    assert "guess" not in str(items)
    assert [it["outcome"] for it in await entries(admin)] == ["refused"] * 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len([it for it in lines if it.get("address") == "203.0.113.9"]) == 60


async def test_who_comes_round_the_distribution_says_nothing_of_where_from(
    admin: Admin, api: ASGIApp
) -> None:
    """Without the origin secret, the address is the connection's, for any X-Forwarded-For."""
    async with through(api, admin, {}) as client:
        response = await client.get("/keys", headers={"x-forwarded-for": "203.0.113.9"})
    assert response.json()["error"]["code"] == "origin_denied"
    [item] = stored(admin)
    assert (item["code"], item["address"]) == ("origin_denied", "127.0.0.1")


async def test_no_key_is_logged_with_a_path(
    admin: Admin, api: ASGIApp, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole key in place of its id is rejected. The log has only its public part."""
    key = ids.new_key()
    async with through(api, admin, {INVOKED: True}, "all") as client:
        assert (await client.get(f"/keys/{key}")).status_code == 400
    printed = capsys.readouterr().out
    assert key[:16] in printed
    assert key[16:] not in printed
