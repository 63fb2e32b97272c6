"""The endpoints of keys. They also cover `control.changes` and `control.services`."""

import asyncio
import time
from typing import Any

import pytest

from lambda_fn import ids
from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.control.routers import keys
from lambda_fn.errors import AuthenticationFailed, PermissionDenied
from lambda_fn.http.client import Client
from lambda_fn.metering import account_changes, accounts, holds
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.stream.admit import Gate
from tests.support.admin import NOW, Admin, Make, caller, entries, reserve
from tests.support.function import CREDENTIALS

FUTURE = 4_000_000_000


async def test_a_secret_is_shown_once_and_kept_nowhere(admin: Admin, make: Make) -> None:
    """Only the response that creates a key has its secret. The table has only its hash."""
    key = await make("billing", owner="team a", models=["demo"], expires_at=FUTURE)
    secret = key.pop("secret")
    assert secret.startswith(key["prefix"] + "-")
    assert len(secret) == 3 + 12 + 1 + 43
    assert await admin.ok("GET", f"/keys/{key['id']}") == key
    assert (key["status"], key["owner"], key["models"]) == ("active", "team a", ["demo"])
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
    shown = (await make(limits=limits))["limits"]
    assert shown == {
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
    keys = []
    for number in range(7):
        admin.services.now = lambda number=number: NOW + number  # type: ignore[misc]
        keys.append((await make(f"key {number}", owner="a" if number % 2 else "b"))["id"])
    await admin.ok("DELETE", f"/keys/{keys[3]}")

    async def listed(limit: int, **query: Any) -> list[str]:
        ids: list[str] = []
        page = await admin.ok("GET", "/keys", limit=limit, **query)
        while True:
            assert len(page["data"]) <= limit
            ids += [key["id"] for key in page["data"]]
            assert page["has_more"] == (page["next"] is not None)
            if not page["has_more"]:
                return ids
            page = await admin.ok("GET", "/keys", limit=limit, after=page["next"], **query)

    expected = [keys[number] for number in (6, 5, 4, 2, 1, 0)]
    for limit in (1, 2, 3, 6, 100):
        assert await listed(limit) == expected
    assert await listed(1, owner="a") == [keys[5], keys[1]]
    assert await listed(1, owner="nobody") == []


async def test_a_page_looks_at_so_many_keys(
    admin: Admin, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page reads a bounded number of keys, even if few match. The next page continues."""
    monkeypatch.setattr(keys, "_MAX_READ", 2)
    created = []
    for number in range(6):
        admin.services.now = lambda number=number: NOW + number  # type: ignore[misc]
        created.append((await make(f"key {number}", owner="b" if number else "a"))["id"])
    ids: list[str] = []
    after: dict[str, str] = {}
    pages = 0
    while True:
        page = await admin.ok("GET", "/keys", limit=1, owner="a", **after)
        pages += 1
        ids += [key["id"] for key in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["next"]}
    assert ids == [created[0]]
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
    key = await make(
        owner="a",
        models=["demo"],
        expires_at=FUTURE,
        limits={"tokens_per_day": 5, "cost_per_day": 1},
    )
    path = f"/keys/{key['id']}"
    changed = await admin.ok("PATCH", path, {"owner": "b", "limits": {"tokens_per_day": 9}})
    assert (changed["owner"], changed["models"], changed["expires_at"]) == ("b", ["demo"], FUTURE)
    assert (changed["limits"]["tokens_per_day"], changed["limits"]["cost_per_day"]) == (9, "1")
    changed = await admin.ok(
        "PATCH", path, {"models": None, "expires_at": None, "limits": {"cost_per_day": None}}
    )
    assert (changed["models"], changed["expires_at"], changed["limits"]["cost_per_day"]) == (
        None,
        None,
        None,
    )
    assert await admin.ok("PATCH", path, {}) == changed
    for field in ("name", "owner", "enabled", "limits"):
        assert (await admin.refused(400, "PATCH", path, {field: None}))["param"] == field


async def test_networks_are_given_changed_and_taken_away(admin: Admin, make: Make) -> None:
    """Networks are stored in one form and enforced.

    A change replaces them, and null removes them.
    """
    key = await make(networks=["2001:DB8::/32", "203.0.113.0/24"])
    assert key["networks"] == ["2001:db8::/32", "203.0.113.0/24"]
    path, gate = f"/keys/{key['id']}", Gate(admin.services.table)
    with pytest.raises(PermissionDenied):
        await gate.check_key(caller(key["secret"]))
    assert (await admin.ok("PATCH", path, {"owner": "b"}))["networks"] == key["networks"]
    assert (await admin.ok("PATCH", path, {"networks": ["192.0.2.1"]}))["networks"] == [
        "192.0.2.1/32"
    ]
    assert (await admin.ok("PATCH", path, {"networks": None}))["networks"] is None
    await gate.check_key(caller(key["secret"]))


async def test_filters_are_given_changed_and_taken_away(admin: Admin, make: Make) -> None:
    """A change replaces what a key redacts, and null removes it. An unknown kind is refused."""
    key = await make(redact=["email", "card"])
    assert key["redact"] == ["email", "card"]
    path = f"/keys/{key['id']}"
    assert (await admin.ok("PATCH", path, {"owner": "b"}))["redact"] == key["redact"]
    assert (await admin.ok("PATCH", path, {"redact": ["ip"]}))["redact"] == ["ip"]
    assert (await admin.ok("PATCH", path, {"redact": None}))["redact"] is None
    assert (await make())["redact"] is None


async def test_a_disabled_key_is_told_so(admin: Admin, make: Make) -> None:
    """A disabled key is rejected. Once it is enabled, it is served again."""
    key = await make()
    gate = Gate(admin.services.table)
    assert (await admin.ok("PATCH", f"/keys/{key['id']}", {"enabled": False}))[
        "status"
    ] == "disabled"
    with pytest.raises(PermissionDenied, match="disabled"):
        await gate.check_key(caller(key["secret"]))
    assert (await admin.ok("PATCH", f"/keys/{key['id']}", {"enabled": True}))["status"] == "active"
    await gate.check_key(caller(key["secret"]))


async def test_a_rotation_leaves_the_old_secret_its_grace(admin: Admin, make: Make) -> None:
    """Both secrets are valid in the grace period.

    The old one is invalid without a grace period, or after another rotation.
    """
    admin.services.now = time.time
    key = await make(limits={"tokens_per_day": 5})
    gate = Gate(admin.services.table)
    rotated = await admin.ok("POST", f"/keys/{key['id']}/rotate", {"grace_seconds": 60})
    assert rotated["id"] == key["id"]
    assert rotated["secret"] != key["secret"]
    assert rotated["limits"] == key["limits"]
    assert rotated["old_secret_expires_at"] is not None
    for secret in (key["secret"], rotated["secret"]):
        await gate.check_key(caller(secret))
    last = await admin.ok("POST", f"/keys/{key['id']}/rotate", {"grace_seconds": 0})
    await gate.check_key(caller(last["secret"]))
    with pytest.raises(AuthenticationFailed):
        await gate.check_key(caller(key["secret"]))
    with pytest.raises(PermissionDenied):
        await gate.check_key(caller(rotated["secret"]))
    for grace in (-1, 31 * 86_400, "1"):
        error = await admin.refused(
            400, "POST", f"/keys/{key['id']}/rotate", {"grace_seconds": grace}
        )
        assert error["param"] == "grace_seconds"


@pytest.mark.parametrize("keep", [False, True])
async def test_a_deleted_keys_answers_are_deleted(
    admin: Admin, make: Make, moto_url: str, http: Client, streams: Any, *, keep: bool
) -> None:
    """The sweeper finds the key, unless its answers are to be kept. The trail says which."""
    admin.services.streams = Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )
    key = await make()
    deleted = await admin.ok("DELETE", f"/keys/{key['id']}", keep_answers=keep)
    assert deleted["answers"] == ("kept" if keep else "deleting")
    assert [it["sk"] for it in streams.scan()["Items"]] == ([] if keep else [key["id"]])
    [entry] = (await entries(admin, key=key["id"]))[:1]
    assert (entry["action"], entry["asked"]) == ("deleteKey", {"keep_answers": keep})
    await admin.refused(404, "DELETE", f"/keys/{key['id']}")
    assert len(streams.scan()["Items"]) == (not keep)


async def test_a_deleted_key_is_a_key_that_nobody_has(admin: Admin, make: Make) -> None:
    """A deleted key is unknown and in no list.

    Its running request is still booked, and its item stays.
    """
    key = await make()
    request_id = ids.new_request_id(NOW)
    entry = await reserve(admin, key["secret"], request_id)
    assert await admin.ok("DELETE", f"/keys/{key['id']}") == {
        "object": "key",
        "id": key["id"],
        "deleted": True,
        "answers": "kept",  # this deployment keeps none
    }
    with pytest.raises(AuthenticationFailed):
        await Gate(admin.services.table).check_key(caller(key["secret"]))
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": True}),
        ("PATCH", "", {"limits": {"tokens_per_day": 5}}),
        ("POST", "/rotate", {}),
        ("DELETE", "", None),
        ("GET", "/budget", None),
    ):
        await admin.refused(404, method, f"/keys/{key['id']}{path}", body)
    assert (await admin.ok("GET", "/keys"))["data"] == []
    spent = accounts.Spend(1, 3, 4, 2)
    update = holds.capture(key["id"], request_id, entry, spent, now=NOW + 5)
    item = await admin.services.table.update(update, return_item=True)
    assert (item["in_flight"], item["completion_tokens"]) == ({}, 4)
    with pytest.raises(ConditionFailed):
        await reserve(admin, key["secret"], ids.new_request_id(NOW))


async def test_changes_of_limits_at_once_all_count(admin: Admin, make: Make) -> None:
    """Two concurrent changes of limits both take effect, also on what remains."""
    key = await make(limits={"tokens_per_day": 100, "tokens_per_month": 1000})
    await reserve(admin, key["secret"], ids.new_request_id(NOW), tokens=10)
    await asyncio.gather(
        admin.ok("PATCH", f"/keys/{key['id']}", {"limits": {"tokens_per_day": 300}}),
        admin.ok("PATCH", f"/keys/{key['id']}", {"limits": {"tokens_per_day": 200}}),
        admin.ok("PATCH", f"/keys/{key['id']}", {"limits": {"tokens_per_month": 2000}}),
    )
    budget = await admin.ok("GET", f"/keys/{key['id']}/budget")
    day = budget["tokens_per_day"]
    assert day["left"] == day["limit"] - 10
    assert budget["tokens_per_month"]["left"] == 1990


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
    key = await make()
    assert key["limits"]["concurrent_streams"] == 20
    assert (await make(limits={"concurrent_streams": 50}))["limits"]["concurrent_streams"] == 50
    maximum = (await make(limits={"concurrent_streams": None}))["limits"]["concurrent_streams"]
    assert maximum == accounts.MAX_STREAMS
    admin.services.default_max_streams = 5
    assert (await admin.ok("GET", f"/keys/{key['id']}"))["limits"]["concurrent_streams"] == 20


async def test_a_revoked_key_is_of_no_use_and_what_runs_is_told(admin: Admin, make: Make) -> None:
    """After a revocation no secret is valid, also not in its grace period or after enabling.

    Running requests are cancelled once. A rotation makes a new secret.
    """
    admin.services.now = time.time
    key = await make()
    rotated = await admin.ok("POST", f"/keys/{key['id']}/rotate", {"grace_seconds": 600})
    path, gate = f"/keys/{key['id']}", Gate(admin.services.table)
    opening = Opening(ids.new_request_id(), key["id"], "demo", 100, 5, Prices(1, 1))
    await gate.admit(caller(rotated["secret"]), opening)
    revoked = await admin.ok("POST", f"{path}/revoke")
    assert (revoked["status"], revoked["cancelled"], revoked["old_secret_expires_at"]) == (
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
    for secret in (key["secret"], rotated["secret"]):
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
    key = await make()
    account = Account.of(await admin.services.account(key["id"]))
    late = account_changes.rotate(
        await admin.services.account(key["id"]), "0" * 64, now=int(NOW), grace=60
    )
    await asyncio.gather(
        admin.ok("POST", f"/keys/{key['id']}/revoke"),
        admin.ok("PATCH", f"/keys/{key['id']}", {"owner": "b"}),
    )
    shown = await admin.ok("GET", f"/keys/{key['id']}")
    assert (shown["status"], shown["owner"], account.revoked) == ("revoked", "b", None)
    with pytest.raises(ConditionFailed):
        await admin.services.table.update(late)
