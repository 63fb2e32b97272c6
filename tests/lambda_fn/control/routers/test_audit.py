"""The audit trail: what it has of every change, what a crash leaves of it, and what a flood does
not do to it.
"""

import json
from typing import Any, NoReturn

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn import ids
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.control.app import PREFIX, Middleware
from lambda_fn.control.auth import INVOKED, Gate
from lambda_fn.control.rights import OPERATIONS, RIGHTS, Right
from lambda_fn.control.trail import Trail, Who
from tests.support.admin import NOW, Admin, Make

READS = {"reconcile", "reconcileHours", "reconcileKeys"}
HOURS = {"since": "2026-11-20", "until": "2026-11-21"}


async def entries(admin: Admin, **query: Any) -> list[dict[str, Any]]:
    """List the trail, the newest first."""
    found: list[dict[str, Any]] = (await admin.ok("GET", "/audit", **query))["data"]
    return found


def stored(admin: Admin) -> list[dict[str, Any]]:
    """Give the items of the trail."""
    return [item for item in admin.boto.scan()["Items"] if item["pk"].startswith("AUDIT#")]


async def test_every_change_is_recorded(admin: Admin, make: Make) -> None:
    """Each operation that changes anything has its entry, by its name in the document."""
    made = await make()
    path = f"/keys/{made['id']}"
    calls: dict[str, tuple[str, str, Any]] = {
        "updateKey": ("PATCH", path, {"owner": "b"}),
        "updateBudget": ("PATCH", f"{path}/budget", {"tokens_per_day": 5}),
        "rotateKey": ("POST", f"{path}/rotate", {}),
        "revokeKey": ("POST", f"{path}/revoke", None),
        "deleteKey": ("DELETE", path, None),
        "rebuildRollups": ("POST", "/rollups/rebuild", HOURS),
        "replay": ("POST", "/replay", {"lines": ["x"]}),
    }
    for call in calls.values():
        await admin.ok(*call)
    found = await entries(admin)
    operations = {
        it["operationId"]
        for methods in admin.document["paths"].values()
        for method, it in methods.items()
        if method != "get"
    }
    assert {it["action"] for it in found} == operations - READS == {*calls, "createKey"}
    assert [it["action"] for it in found] == [*reversed(calls), "createKey"]
    for it in found:
        assert (it["outcome"], it["code"]) == ("done", None)
        assert (it["actor"], it["address"], it["invocation"]) == ("secret:v1", "192.0.2.1", "i-1")
        assert it["key"] == (None if it["action"] in {"rebuildRollups", "replay"} else made["id"])


async def test_before_and_after(admin: Admin, make: Make) -> None:
    """Of a change the fields that changed are shown as they were and are, of a new key all."""
    made = await make(owner="a", limits={"tokens_per_day": 5})
    await admin.ok("PATCH", f"/keys/{made['id']}", {"owner": "b", "name": "app", "limits": {"tokens_per_day": 9}})
    await admin.ok("PATCH", f"/keys/{made['id']}/budget", {"cost_per_day": "0.5"})
    budget, change, create = await entries(admin)
    assert create["after"]["owner"] == "a"
    assert (create["before"], create["after"]["limits.tokens_per_day"]) == ({}, 5)
    assert change["asked"] == {"owner": "b", "name": "app", "limits": {"tokens_per_day": 9}}
    assert change["before"] == {"owner": "a", "limits.tokens_per_day": 5}
    assert change["after"] == {"owner": "b", "limits.tokens_per_day": 9}
    assert (budget["before"], budget["after"]) == ({"limits.cost_per_day": None}, {"limits.cost_per_day": "0.5"})


async def test_what_was_refused_is_recorded(admin: Admin, make: Make) -> None:
    """A change of a key that is not there, and one rotation too many, are in the trail with their
    error.
    """
    made = await make()
    nobody = ids.new_key_id()
    await admin.refused(404, "DELETE", f"/keys/{nobody}")
    for _ in range(4):
        await admin.ok("POST", f"/keys/{made['id']}/rotate", {})
    await admin.refused(409, "POST", f"/keys/{made['id']}/rotate", {})
    last, *_, first, _ = await entries(admin)
    assert (last["outcome"], last["code"]) == ("refused", "rotation_in_grace")
    assert (first["key"], first["outcome"], first["code"]) == (nobody, "refused", "key_not_found")


async def test_nothing_is_done_that_cannot_be_recorded(admin: Admin, make: Make) -> None:
    """While the trail cannot be written, no key is made and none is changed."""
    made = await make(owner="a")
    put = admin.services.table.put

    async def away(*_: Any, **__: Any) -> NoReturn:
        raise MeterUnavailable

    admin.services.table.put = away  # type: ignore[method-assign]
    for call in (("POST", "/keys", {"name": "n"}), ("PATCH", f"/keys/{made['id']}", {"owner": "b"})):
        await admin.refused(503, *call)
    admin.services.table.put = put  # type: ignore[method-assign]
    assert [key["owner"] for key in (await admin.ok("GET", "/keys"))["data"]] == ["a"]


@pytest.mark.parametrize("lost", ["change", "record"])
async def test_what_was_cut_off_is_seen(admin: Admin, make: Make, lost: str) -> None:
    """Killed before its change, or after it and before its end was recorded, an action is in the
    trail as unknown.
    """
    made = await make(owner="a")
    table = admin.services.table
    put, update = table.put, table.update

    class Killed(BaseException):
        """The function ends."""

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
        await admin("PATCH", f"/keys/{made['id']}", {"owner": "b"})
    except Killed:
        assert lost == "change"
    table.put, table.update = put, update  # type: ignore[method-assign]
    [entry, _] = await entries(admin)
    assert (entry["action"], entry["outcome"], entry["asked"]) == ("updateKey", "unknown", {"owner": "b"})
    owner = (await admin.ok("GET", f"/keys/{made['id']}"))["owner"]
    assert owner == ("a" if lost == "change" else "b")


async def test_no_secret_is_in_the_trail(admin: Admin, make: Make) -> None:
    """Neither a key nor a hash of one, of what was made, rotated and revoked, is stored there or
    shown.
    """
    made = await make()
    rotated = await admin.ok("POST", f"/keys/{made['id']}/rotate", {})
    await admin.ok("POST", f"/keys/{made['id']}/revoke")
    last = await admin.ok("POST", f"/keys/{made['id']}/rotate", {})
    secrets = [it["secret"] for it in (made, rotated, last)]
    await admin.ok("DELETE", f"/keys/{made['id']}")
    text = str(stored(admin)) + json.dumps(await entries(admin))
    for secret in secrets:
        assert secret[16:] not in text
        assert ids.hash_key(secret) not in text


async def test_entries_are_kept_for_their_time_and_never_written_over(admin: Admin, make: Make) -> None:
    """Each has the time after which DynamoDB removes it, and what is put once more stays what it
    was.
    """
    await make()
    items = stored(admin)
    assert {int(item["ttl"]) for item in items} == {NOW + 400 * 86_400}
    assert {item["pk"] for item in items} == {"AUDIT#2026-11-21"}
    who = Who(items[0]["sk"].partition("#")[0], "iam:all", None, None)
    async with admin.services.trail.change(who, "forged"):
        pass
    assert stored(admin) == items


async def test_pages_and_filters(admin: Admin, make: Make) -> None:
    """Page by page everything comes once, over days; by key, by actor and by time only what is
    asked for.
    """
    first = await make("first")
    for _ in range(4):
        await make()
    await admin.ok("DELETE", f"/keys/{first['id']}")
    trail = admin.services.trail
    for at, actor in ((NOW - 86_400, "iam:keys"), (NOW - 2 * 86_400, "iam:all")):
        admin.services.now = lambda at=at: at  # type: ignore[misc]
        async with trail.change(Who(ids.new_request_id(at), actor, None, None), "createKey"):
            pass
    admin.services.now = lambda: NOW
    whole = await entries(admin)
    assert len(whole) == 8
    for limit in (1, 3, 8):
        found, after = [], None
        while True:
            query = {"limit": limit} if after is None else {"limit": limit, "after": after}
            page = await admin.ok("GET", "/audit", **query)
            found += page["data"]
            after = page["next"]
            if after is None:
                break
        assert found == whole
    assert [it["action"] for it in await entries(admin, key=first["id"])] == ["deleteKey", "createKey"]
    assert [it["actor"] for it in await entries(admin, actor="iam")] == ["iam:keys", "iam:all"]
    assert [it["actor"] for it in await entries(admin, actor="iam:all")] == ["iam:all"]
    assert await entries(admin, actor="ia") == []
    assert [it["actor"] for it in await entries(admin, since="2026-11-20", until="2026-11-21")] == ["iam:keys"]
    assert (await admin.refused(400, "GET", "/audit", since="yesterday"))["param"] == "since"
    assert (await admin.refused(400, "GET", "/audit", key="sk-x"))["param"] == "key"


def through(api: ASGIApp, admin: Admin, event: dict[str, Any], right: Right | None = None) -> httpx.AsyncClient:
    """Give a client of the whole application, whose requests come by such an event."""
    front = Middleware(api, Gate(None, ("origin",), right), admin.services.trail)

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        await front({**scope, "aws.event": event}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(run), base_url=f"http://admin{PREFIX}")


async def test_a_flood_of_refused_sign_ins_fills_no_table(
    admin: Admin, api: ASGIApp, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a minute's refused requests the first is in the trail, the next one's entry counts them;
    the log has all.
    """
    sent = {"x-sluice-origin-secret": "origin", "authorization": "Bearer guess", "x-forwarded-for": "x, 203.0.113.9"}
    async with through(api, admin, {}) as client:
        for number in range(60):
            admin.services.now = lambda number=number: NOW - NOW % 60 + number / 50 * 60  # type: ignore[misc]
            assert (await client.get("/keys", headers=sent)).status_code == 403  # no secret is taken here at all
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


async def test_who_comes_round_the_distribution_says_nothing_of_where_from(admin: Admin, api: ASGIApp) -> None:
    """Without the origin secret the address is the connection's own, whatever X-Forwarded-For says.
    """
    async with through(api, admin, {}) as client:
        answer = await client.get("/keys", headers={"x-forwarded-for": "203.0.113.9"})
    assert answer.json()["error"]["code"] == "origin_denied"
    [item] = stored(admin)
    assert (item["code"], item["address"]) == ("origin_denied", "127.0.0.1")


async def test_environments_share_a_minute(admin: Admin) -> None:
    """Two environments that refuse in the same minute leave one entry."""
    for _ in range(2):
        admin.services.__post_init__()  # a new environment
        await admin.services.trail.refused(Who(ids.new_request_id(NOW), "unknown", None, None), "signIn", "x")
    assert len(stored(admin)) == 1


async def test_no_key_is_logged_with_a_path(admin: Admin, api: ASGIApp, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole key in the place of its id is refused, and the log has only what is public of it."""
    key = ids.new_key()
    async with through(api, admin, {INVOKED: True}, "all") as client:
        assert (await client.get(f"/keys/{key}")).status_code == 400
    printed = capsys.readouterr().out
    assert key[:16] in printed
    assert key[16:] not in printed


@pytest.mark.parametrize("right", RIGHTS)
async def test_a_right_has_its_operations_and_no_other(admin: Admin, api: ASGIApp, right: Right) -> None:
    """Of all operations in the document a right is refused those that it has not, before they do
    anything, and the refusal is in the trail.
    """
    admin.services.right = right
    key_id = ids.new_key_id()
    allowed, all_of_them = set(), set()
    async with through(api, admin, {INVOKED: True}, right) as client:
        for template, methods in admin.document["paths"].items():
            path = template.removeprefix(PREFIX).replace("{key_id}", key_id).replace("{request_id}", "x")
            for method, operation in methods.items():
                all_of_them.add(operation["operationId"])
                answer = await client.request(method, path, json={"name": "n", **HOURS, "lines": [], "keys": []})
                if answer.status_code != 403:
                    allowed.add(operation["operationId"])
                else:
                    assert answer.json()["error"]["code"] == "right_missing"
    assert allowed == (all_of_them if right == "all" else OPERATIONS[right])
    refused = [item for item in stored(admin) if "#refused#" in item["sk"]]
    wanted = [] if right == "all" else [(f"iam:{right}", "right_missing")]
    assert [(item["actor"], item["code"]) for item in refused] == wanted


@pytest.mark.parametrize("limits", [{"tokens_per_day": 5}, {"tokens_per_day": None}, {"concurrent_streams": 200}, {}])
async def test_who_makes_keys_sets_no_limits(admin: Admin, make: Make, limits: dict[str, Any]) -> None:
    """With the right to keys a key has the defaults, and a 403 names the rights that may give it
    other limits.
    """
    admin.services.right = "keys"
    made = await make()
    for call in (("POST", "/keys", {"name": "n"}), ("PATCH", f"/keys/{made['id']}", {"owner": "b"})):
        error = await admin.refused(403, *call[:2], {**call[2], "limits": limits})
        assert (error["param"], error["code"]) == ("limits", "right_missing")
        assert all(f"'{right}'" in error["message"] for right in ("keys", "all", "budgets"))
    [found] = (await admin.ok("GET", "/keys"))["data"]
    assert (found["owner"], found["limits"]) == ("", made["limits"])
    admin.services.right = "budgets"
    budget = await admin.ok("PATCH", f"/keys/{made['id']}/budget", {"tokens_per_day": 6})
    assert budget["tokens_per_day"]["limit"] == 6


async def test_noise_hides_no_refusal_of_another_kind(admin: Admin) -> None:
    """Of a minute's refusals each actor's and each error's first one is there, whichever function
    wrote before.
    """
    trails = [Trail(admin.services.table, days=1, now=lambda: NOW) for _ in range(3)]
    kinds = [("unknown", "invalid_admin_secret"), ("unknown", "url_only"), ("iam:usage", "right_missing")]
    kinds.append(("iam:keys", "right_missing"))
    for trail in trails:
        for actor, code in kinds:
            for _ in range(5):
                await trail.refused(Who(ids.new_request_id(NOW), actor, None, None), "createKey", code)
    assert sorted((it["actor"], it["code"], int(it["attempts"])) for it in stored(admin)) == sorted(
        (*kind, 1) for kind in kinds
    )
    assert [it["outcome"] for it in await entries(admin)] == ["refused"] * len(kinds)


@pytest.mark.parametrize("away", ["minute taken", "no table"])
async def test_attempts_without_an_entry_are_in_the_next_one(admin: Admin, away: str) -> None:
    """What another environment's entry, or a table that did not answer, kept out is counted in the
    next entry.
    """
    minute = NOW - NOW % 60
    moments = iter([minute, minute + 1, minute + 60])
    trail = Trail(admin.services.table, days=1, now=lambda: moment)
    first = Who(ids.new_request_id(minute), "unknown", None, None)
    put = admin.services.table.put

    async def gone(*_: Any, **__: Any) -> NoReturn:
        raise MeterUnavailable

    if away == "no table":
        admin.services.table.put = gone  # type: ignore[method-assign]
    else:
        await Trail(admin.services.table, days=1, now=lambda: minute).refused(first, "signIn", "x")
    for moment in moments:
        if moment == minute + 60:
            admin.services.table.put = put  # type: ignore[method-assign]
        await trail.refused(Who(ids.new_request_id(moment), "unknown", None, None), "signIn", "x")
    last = max(stored(admin), key=lambda item: item["at"])
    assert (int(last["at"]), int(last["attempts"])) == (minute + 60, 3)
