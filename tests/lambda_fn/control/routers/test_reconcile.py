"""The endpoints that reconcile, in one call and in parts as the command does."""

import asyncio
from typing import Any

import pytest

from cli.lib.reconcile import reconcile
from lambda_fn.control import services
from lambda_fn.control.routers import reconcile as reconciling
from lambda_fn.reporting import rollups
from tests.support.admin import HOUR, NOW, Admin


class Commands:
    """The API as the commands see it, from another thread."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._loop = asyncio.get_running_loop()
        self.calls: list[str] = []

    def __call__(
        self, method: str, path: str, body: object = None, **query: object
    ) -> dict[str, Any]:
        """Make a call."""
        self.calls.append(path)
        return asyncio.run_coroutine_threadsafe(
            self._admin.ok(method, path, body, **query), self._loop
        ).result()


@pytest.fixture
async def commands(admin: Admin, used: dict[str, Any]) -> Commands:
    """Return the API some hours after `used`, with rollups."""
    at = NOW + 4 * HOUR
    admin.services.now = lambda: at
    await rollups.advance(admin.services.table, now=at, longest=600, stop=lambda: False)
    return Commands(admin)


async def test_parts_add_up_to_the_whole(
    admin: Admin, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that each have time for some hours add up to the report of one call."""
    whole = await admin.ok("POST", "/reconcile")
    monkeypatch.setattr(reconciling, "_PART", 0.0)
    report = await asyncio.to_thread(reconcile, commands)
    assert {"object": "reconciliation", **report} == whole
    assert report["agrees"]
    assert sum(key["ledger"]["requests"] for key in report["keys"]) == 5
    assert commands.calls.count("/reconcile/keys") == 1
    assert commands.calls.count("/reconcile/hours") > 3


async def test_a_deleted_key_is_compared(admin: Admin, used: dict[str, Any]) -> None:
    """The latest usage of a deleted key is compared with its account, too."""
    admin.services.now = lambda: NOW + 60
    await admin.ok("DELETE", f"/keys/{used['second']}")
    report = await asyncio.to_thread(reconcile, Commands(admin))
    [deleted] = [it for it in report["keys"] if it["key"] == used["second"]]
    assert deleted["account"]["requests"] == deleted["ledger"]["requests"] == 1
    assert report["agrees"]


async def test_differences_of_every_part_are_named(
    admin: Admin, commands: Commands, used: dict[str, Any]
) -> None:
    """A wrong account and a wrong old rollup are both named."""
    key = {"pk": f"KEY#{used['second']}", "sk": "ACCOUNT"}
    admin.boto.update_item(
        Key=key, UpdateExpression="ADD cost :n", ExpressionAttributeValues={":n": 1}
    )
    [rollup] = [
        it
        for it in admin.boto.scan()["Items"]
        if it["pk"] == "USAGE#2026-11-20" and "#22#demo" in it["sk"]
    ]
    admin.boto.put_item(Item={**rollup, "cost": 0})
    report = await asyncio.to_thread(reconcile, commands)
    assert [(it["key"], it["places"]) for it in report["differences"]] == [
        (used["first"], ["ledger", "rollup"]),
        (used["second"], ["account", "ledger"]),
    ]
    assert not report["agrees"]


async def test_what_takes_too_long_is_said_so(
    admin: Admin, used: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Usage and reconciling end in a common error before the function is killed."""
    monkeypatch.setattr(services, "SECONDS", 0.0)
    for method, path in (("GET", "/usage"), ("POST", "/reconcile")):
        assert (await admin.refused(503, method, path))["code"] == "too_much_at_once"


async def test_hours_and_keys_that_make_no_sense(admin: Admin) -> None:
    """Errors name invalid hours and keys."""
    for path, body, param in (
        ("/reconcile/hours", {"since": "then"}, "since"),
        ("/reconcile/keys", {"since": "then", "keys": []}, "since"),
        ("/reconcile/keys", {"since": "2026-11-21", "keys": [{"key": "x"}]}, "keys.0.key"),
        ("/reconcile/keys", {"since": "2026-11-21", "keys": [{"key": "a" * 12}] * 101}, "keys"),
    ):
        assert (await admin.refused(400, "POST", path, body))["param"] == param


async def test_no_keys_are_nothing(admin: Admin, used: dict[str, Any]) -> None:
    """An empty list of keys compares no keys, and not all of them."""
    del used
    report = await admin.ok("POST", "/reconcile/keys", {"since": "2026-11-21T06", "keys": []})
    assert (report["agrees"], report["keys"], report["differences"]) == (True, [], [])


async def test_the_books_agree_until_they_do_not(admin: Admin, used: dict[str, Any]) -> None:
    """Reconciling finds no difference at first.

    After a figure was forged, it names the difference.
    """
    admin.services.now = lambda: NOW + 60
    report = await admin.ok("POST", "/reconcile")
    assert (report["agrees"], report["differences"]) == (True, [])
    assert {key["key"]: key["account"]["requests"] for key in report["keys"]} == {
        used["first"]: 4,
        used["second"]: 1,
    }
    key = {"pk": f"KEY#{used['second']}", "sk": "ACCOUNT"}
    admin.boto.update_item(
        Key=key, UpdateExpression="ADD completion_tokens :n", ExpressionAttributeValues={":n": 1}
    )
    report = await admin.ok("POST", "/reconcile")
    assert not report["agrees"]
    [difference] = report["differences"]
    assert (difference["key"], difference["field"]) == (used["second"], "completion_tokens")
    assert sorted(difference["values"]) == [50, 51]


async def test_a_deleted_key_stays_in_the_books(admin: Admin, used: dict[str, Any]) -> None:
    """The usage of a deleted key is reported, and account and ledger still agree."""
    await admin.ok("DELETE", f"/keys/{used['first']}")
    admin.services.now = lambda: NOW + 60
    assert (await admin.ok("POST", "/reconcile"))["agrees"]
    rows = (await admin.ok("GET", "/usage", by="key"))["data"]
    assert {row["key"] for row in rows} == {used["first"], used["second"]}
