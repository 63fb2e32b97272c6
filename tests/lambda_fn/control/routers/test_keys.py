"""The endpoints of keys. They also cover `control.changes` and `control.services`."""

import asyncio
import time
from typing import Any

import pytest

from lambda_fn import ids
from lambda_fn.aws.dynamodb import ConditionFailed
from lambda_fn.control.routers import keys
from lambda_fn.errors import AuthenticationFailed, PermissionDenied
from lambda_fn.metering import account_changes, accounts, holds
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.stream.admit import Gate
from tests.support.admin import NOW, Admin, Make, caller, reserve

FUTURE = 4_000_000_000


async def test_a_secret_is_shown_once_and_kept_nowhere(admin: Admin, make: Make) -> None:
    """Only the response that creates a key has its secret. The table has only its hash."""
    made = await make("billing", owner="team a", models=["demo"], expires_at=FUTURE)
    secret = made.pop("secret")
    assert secret.startswith(made["prefix"] + "-")
    assert len(secret) == 3 + 12 + 1 + 43
    assert await admin.ok("GET", f"/keys/{made['id']}") == made
    assert (made["status"], made["owner"], made["models"]) == ("active", "team a", ["demo"])
    assert secret.rpartition("-")[2] not in str(admin.boto.scan()["Items"])
    account = await Gate(admin.services.table).check_key(caller(secret))
    assert account.name == "billing"


async def test_limits_are_as_they_were_given(make: Make) -> None:
    """Money is exact to the nano-USD. Limits that are left out or null do not limit."""
    limits = {
        "requests_per_minute": 0,
        "cost_per_month": "12.000000001",
        "cost_per_day": 0.5,
        "tokens_per_day": None,
    }
    found = (await make(limits=limits))["limits"]
    assert found == {
        "requests_per_minute": 0,
        "tokens_per_minute": None,
        "concurrent_streams": accounts.MAX_STREAMS,
        "tokens_per_day": None,
        "tokens_per_month": None,
        "cost_per_day": "0.5",
        "cost_per_month": "12.000000001",
    }


async def test_listing_goes_page_by_page(admin: Admin, make: Make) -> None:
    """Pages list every key once, newest first, without deleted ones. They can filter by owner."""
    made = []
    for number in range(7):
        admin.services.now = lambda number=number: NOW + number  # type: ignore[misc]
        made.append((await make(f"key {number}", owner="a" if number % 2 else "b"))["id"])
    await admin.ok("DELETE", f"/keys/{made[3]}")

    async def listed(limit: int, **query: Any) -> list[str]:
        found: list[str] = []
        page = await admin.ok("GET", "/keys", limit=limit, **query)
        while True:
            assert len(page["data"]) <= limit
            found += [key["id"] for key in page["data"]]
            assert page["has_more"] == (page["next"] is not None)
            if not page["has_more"]:
                return found
            page = await admin.ok("GET", "/keys", limit=limit, after=page["next"], **query)

    wanted = [made[number] for number in (6, 5, 4, 2, 1, 0)]
    for limit in (1, 2, 3, 6, 100):
        assert await listed(limit) == wanted
    assert await listed(1, owner="a") == [made[5], made[1]]
    assert await listed(1, owner="nobody") == []


async def test_a_page_looks_at_so_many_keys(
    admin: Admin, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page reads a bounded number of keys, even if few match. The next page continues."""
    monkeypatch.setattr(keys, "_MAX_READ", 2)
    made = []
    for number in range(6):
        admin.services.now = lambda number=number: NOW + number  # type: ignore[misc]
        made.append((await make(f"key {number}", owner="b" if number else "a"))["id"])
    found: list[str] = []
    after: dict[str, str] = {}
    pages = 0
    while True:
        page = await admin.ok("GET", "/keys", limit=1, owner="a", **after)
        pages += 1
        found += [key["id"] for key in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["next"]}
    assert found == [made[0]]
    assert pages >= 3


async def test_a_page_token_is_of_one_list(admin: Admin, make: Make) -> None:
    """A token that was changed, or belongs to another list or owner, is rejected."""
    for _ in range(3):
        await make(owner="a")
    token = (await admin.ok("GET", "/keys", limit=1, owner="a"))["next"]
    await admin.ok("GET", "/keys", limit=2, owner="a", after=token)
    for path, query in (
        ("/keys", {"after": token}),
        ("/keys", {"owner": "b", "after": token}),
        ("/budgets", {"owner": "a", "after": token}),
        ("/usage", {"after": token}),
        ("/keys", {"owner": "a", "after": token[:-1] + ("A" if token[-1] != "A" else "B")}),
        ("/keys", {"owner": "a", "after": token[4:]}),
        ("/keys", {"owner": "a", "after": "ä"}),
        ("/keys", {"owner": "a", "after": ""}),
    ):
        error = await admin.refused(400, "GET", path, **query)
        assert (error["param"], error["code"]) == ("after", "invalid_page_token")
    assert (await admin.refused(400, "GET", "/keys", after="x" * 2000))["param"] == "after"


async def test_a_change_leaves_the_rest(admin: Admin, make: Make) -> None:
    """Fields that are left out stay. null removes an expiry or a list of models."""
    made = await make(
        owner="a",
        models=["demo"],
        expires_at=FUTURE,
        limits={"tokens_per_day": 5, "cost_per_day": 1},
    )
    path = f"/keys/{made['id']}"
    found = await admin.ok("PATCH", path, {"owner": "b", "limits": {"tokens_per_day": 9}})
    assert (found["owner"], found["models"], found["expires_at"]) == ("b", ["demo"], FUTURE)
    assert (found["limits"]["tokens_per_day"], found["limits"]["cost_per_day"]) == (9, "1")
    found = await admin.ok(
        "PATCH", path, {"models": None, "expires_at": None, "limits": {"cost_per_day": None}}
    )
    assert (found["models"], found["expires_at"], found["limits"]["cost_per_day"]) == (
        None,
        None,
        None,
    )
    assert await admin.ok("PATCH", path, {}) == found
    for field in ("name", "owner", "enabled", "limits"):
        assert (await admin.refused(400, "PATCH", path, {field: None}))["param"] == field


async def test_networks_are_given_changed_and_taken_away(admin: Admin, make: Make) -> None:
    """Networks are stored in one form and enforced.

    A change replaces them, and null removes them.
    """
    made = await make(networks=["2001:DB8::/32", "203.0.113.0/24"])
    assert made["networks"] == ["2001:db8::/32", "203.0.113.0/24"]
    path, gate = f"/keys/{made['id']}", Gate(admin.services.table)
    with pytest.raises(PermissionDenied):
        await gate.check_key(caller(made["secret"]))
    assert (await admin.ok("PATCH", path, {"owner": "b"}))["networks"] == made["networks"]
    assert (await admin.ok("PATCH", path, {"networks": ["192.0.2.1"]}))["networks"] == [
        "192.0.2.1/32"
    ]
    assert (await admin.ok("PATCH", path, {"networks": None}))["networks"] is None
    await gate.check_key(caller(made["secret"]))


async def test_a_disabled_key_is_told_so(admin: Admin, make: Make) -> None:
    """A disabled key is rejected. Once it is enabled, it is served again."""
    made = await make()
    gate = Gate(admin.services.table)
    assert (await admin.ok("PATCH", f"/keys/{made['id']}", {"enabled": False}))[
        "status"
    ] == "disabled"
    with pytest.raises(PermissionDenied, match="disabled"):
        await gate.check_key(caller(made["secret"]))
    assert (await admin.ok("PATCH", f"/keys/{made['id']}", {"enabled": True}))["status"] == "active"
    await gate.check_key(caller(made["secret"]))


async def test_a_rotation_leaves_the_old_secret_its_grace(admin: Admin, make: Make) -> None:
    """Both secrets are valid in the grace period.

    The old one is invalid without a grace period, or after another rotation.
    """
    admin.services.now = time.time
    made = await make(limits={"tokens_per_day": 5})
    gate = Gate(admin.services.table)
    rotated = await admin.ok("POST", f"/keys/{made['id']}/rotate", {"grace_seconds": 60})
    assert rotated["id"] == made["id"]
    assert rotated["secret"] != made["secret"]
    assert rotated["limits"] == made["limits"]
    assert rotated["old_secret_expires_at"] is not None
    for secret in (made["secret"], rotated["secret"]):
        await gate.check_key(caller(secret))
    last = await admin.ok("POST", f"/keys/{made['id']}/rotate", {"grace_seconds": 0})
    await gate.check_key(caller(last["secret"]))
    with pytest.raises(AuthenticationFailed):
        await gate.check_key(caller(made["secret"]))
    with pytest.raises(PermissionDenied):
        await gate.check_key(caller(rotated["secret"]))
    for grace in (-1, 31 * 86_400, "1"):
        error = await admin.refused(
            400, "POST", f"/keys/{made['id']}/rotate", {"grace_seconds": grace}
        )
        assert error["param"] == "grace_seconds"


async def test_a_deleted_key_is_a_key_that_nobody_has(admin: Admin, make: Make) -> None:
    """A deleted key is unknown and in no list.

    Its running request is still booked, and its item stays.
    """
    made = await make()
    request_id = ids.new_request_id(NOW)
    entry = await reserve(admin, made["secret"], request_id)
    assert await admin.ok("DELETE", f"/keys/{made['id']}") == {
        "object": "key",
        "id": made["id"],
        "deleted": True,
    }
    with pytest.raises(AuthenticationFailed):
        await Gate(admin.services.table).check_key(caller(made["secret"]))
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": True}),
        ("PATCH", "", {"limits": {"tokens_per_day": 5}}),
        ("POST", "/rotate", {}),
        ("DELETE", "", None),
        ("GET", "/budget", None),
    ):
        await admin.refused(404, method, f"/keys/{made['id']}{path}", body)
    assert (await admin.ok("GET", "/keys"))["data"] == []
    spent = accounts.Spend(1, 3, 4, 2)
    update = holds.capture(made["id"], request_id, entry, spent, now=NOW + 5)
    item = await admin.services.table.update(update, return_item=True)
    assert (item["in_flight"], item["completion_tokens"]) == ({}, 4)
    with pytest.raises(ConditionFailed):
        await reserve(admin, made["secret"], ids.new_request_id(NOW))


async def test_changes_of_limits_at_once_all_count(admin: Admin, make: Make) -> None:
    """Two concurrent changes of limits both take effect, also on what remains."""
    made = await make(limits={"tokens_per_day": 100, "tokens_per_month": 1000})
    await reserve(admin, made["secret"], ids.new_request_id(NOW), tokens=10)
    await asyncio.gather(
        admin.ok("PATCH", f"/keys/{made['id']}", {"limits": {"tokens_per_day": 300}}),
        admin.ok("PATCH", f"/keys/{made['id']}", {"limits": {"tokens_per_day": 200}}),
        admin.ok("PATCH", f"/keys/{made['id']}", {"limits": {"tokens_per_month": 2000}}),
    )
    found = await admin.ok("GET", f"/keys/{made['id']}/budget")
    day = found["tokens_per_day"]
    assert day["left"] == day["limit"] - 10
    assert found["tokens_per_month"]["left"] == 1990


COST = {"cost_per_day": "1.5"}


@pytest.fixture
def unpriced(admin: Admin) -> None:
    """Add a model without a price beside one with a price."""
    admin.services.unpriced = ("other",)


@pytest.mark.usefixtures("unpriced")
async def test_a_budget_of_cost_needs_prices(admin: Admin, make: Make) -> None:
    """A budget of cost is rejected if the key may use a model without a price.

    The error names these models.
    """
    for body in (
        {"name": "n", "limits": COST},
        {"name": "n", "limits": COST, "models": ["demo", "other"]},
    ):
        error = await admin.refused(400, "POST", "/keys", body)
        assert (error["code"], error["param"]) == ("model_without_price", "models")
        assert "these have none: other." in error["message"]
        assert "prompt_price" in error["message"]
    good = (await make(limits=COST, models=["demo"]))["id"]
    free = (await make(limits={"tokens_per_day": 5}))["id"]
    for path, change in (
        (f"/keys/{good}", {"models": None}),
        (f"/keys/{good}", {"models": ["other"]}),
        (f"/keys/{free}", {"limits": {"cost_per_month": 3}}),
        (f"/keys/{free}/budget", {"cost_per_month": 3}),
    ):
        assert (await admin.refused(400, "PATCH", path, change))["code"] == "model_without_price"
    await admin.ok("PATCH", f"/keys/{good}", {"limits": {"cost_per_day": None}, "models": None})
    await admin.ok("PATCH", f"/keys/{free}", {"limits": {"cost_per_month": 3}, "models": ["demo"]})


async def test_a_key_whose_model_lost_its_price(admin: Admin, make: Make) -> None:
    """A key whose models lost their prices can still be changed.

    Its cost budgets can be removed.
    """
    key = (await make(limits=COST))["id"]
    admin.services.unpriced = ("demo", "other")
    await admin.ok(
        "PATCH", f"/keys/{key}", {"enabled": False, "limits": {"requests_per_minute": 3}}
    )
    await admin.ok("PATCH", f"/keys/{key}", {"limits": {"cost_per_day": None}})


async def test_streams_of_a_new_key(admin: Admin, make: Make) -> None:
    """A new key gets the deployment's default of concurrent streams, unless it sets a number.

    null is the maximum.
    """
    admin.services.default_max_streams = 20
    made = await make()
    assert made["limits"]["concurrent_streams"] == 20
    assert (await make(limits={"concurrent_streams": 50}))["limits"]["concurrent_streams"] == 50
    most = (await make(limits={"concurrent_streams": None}))["limits"]["concurrent_streams"]
    assert most == accounts.MAX_STREAMS
    admin.services.default_max_streams = 5
    assert (await admin.ok("GET", f"/keys/{made['id']}"))["limits"]["concurrent_streams"] == 20


async def test_a_revoked_key_is_of_no_use_and_what_runs_is_told(admin: Admin, make: Make) -> None:
    """After a revocation no secret is valid, also not in its grace period or after enabling.

    Running requests are cancelled once. A rotation makes a new secret.
    """
    admin.services.now = time.time
    made = await make()
    rotated = await admin.ok("POST", f"/keys/{made['id']}/rotate", {"grace_seconds": 600})
    path, gate = f"/keys/{made['id']}", Gate(admin.services.table)
    opening = Opening(ids.new_request_id(), made["id"], "demo", 100, 5, Prices(1, 1))
    await gate.admit(caller(rotated["secret"]), opening)
    found = await admin.ok("POST", f"{path}/revoke")
    assert (found["status"], found["cancelled"], found["old_secret_expires_at"]) == (
        "revoked",
        1,
        None,
    )
    item = await admin.services.table.get(ledger_key(opening.request_id))
    assert item is not None
    assert item["cancel"] > 0
    again = await admin.ok("POST", f"{path}/revoke")
    assert again["status"] == "revoked"
    await admin.ok("PATCH", path, {"enabled": True})
    for secret in (made["secret"], rotated["secret"]):
        with pytest.raises(AuthenticationFailed):
            await gate.check_key(caller(secret))
    last = await admin.ok("POST", f"{path}/rotate", {"grace_seconds": 600})
    assert (last["status"], last["old_secret_expires_at"]) == ("active", None)
    await gate.check_key(caller(last["secret"]))
    assert (await admin.refused(404, "POST", f"/keys/{ids.new_key_id()}/revoke"))[
        "code"
    ] == "key_not_found"


async def test_a_revocation_that_was_overtaken_is_made_again(admin: Admin, make: Make) -> None:
    """A concurrent change does not prevent a revocation. A late attempt of it restores nothing."""
    made = await make()
    account = Account.of(await admin.services.account(made["id"]))
    late = account_changes.rotate(
        await admin.services.account(made["id"]), "0" * 64, now=int(NOW), grace=60
    )
    await asyncio.gather(
        admin.ok("POST", f"/keys/{made['id']}/revoke"),
        admin.ok("PATCH", f"/keys/{made['id']}", {"owner": "b"}),
    )
    found = await admin.ok("GET", f"/keys/{made['id']}")
    assert (found["status"], found["owner"], account.revoked) == ("revoked", "b", None)
    with pytest.raises(ConditionFailed):
        await admin.services.table.update(late)
