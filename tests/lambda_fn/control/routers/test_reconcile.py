"""Reconciling by the admin API: all at once, and by parts as the command does it."""

import asyncio
from typing import Any

import pytest

from cli.lib.reconcile import reconcile
from lambda_fn.control import services
from lambda_fn.control.routers import reconcile as reconciling
from lambda_fn.reporting import rollups
from tests.support.admin import HOUR, NOW, Admin


class Commands:
    """The API as the commands see it, from a thread of their own."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._loop = asyncio.get_running_loop()
        self.calls: list[str] = []

    def __call__(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """Make a call."""
        self.calls.append(path)
        return asyncio.run_coroutine_threadsafe(self._admin.ok(method, path, body, **query), self._loop).result()


@pytest.fixture
async def commands(admin: Admin, used: dict[str, Any]) -> Commands:
    """Give the API some hours after `used`, with rollups."""
    at = NOW + 4 * HOUR
    admin.services.now = lambda: at
    await rollups.advance(admin.services.table, now=at, longest=600, stop=lambda: False)
    return Commands(admin)


async def test_parts_add_up_to_the_whole(admin: Admin, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part, each with time for some hours only, the report is that of one call."""
    whole = await admin.ok("POST", "/reconcile")
    monkeypatch.setattr(reconciling, "_PART", 0.0)
    report = await asyncio.to_thread(reconcile, commands)
    assert {"object": "reconciliation", **report} == whole
    assert report["agrees"]
    assert sum(key["ledger"]["requests"] for key in report["keys"]) == 5
    assert commands.calls.count("/reconcile/keys") == 1
    assert commands.calls.count("/reconcile/hours") > 3


async def test_a_deleted_key_is_compared(admin: Admin, used: dict[str, Any]) -> None:
    """What it used a moment ago is held against its account, too."""
    admin.services.now = lambda: NOW + 60
    await admin.ok("DELETE", f"/keys/{used['second']}")
    report = await asyncio.to_thread(reconcile, Commands(admin))
    [deleted] = [it for it in report["keys"] if it["key"] == used["second"]]
    assert deleted["account"]["requests"] == deleted["ledger"]["requests"] == 1
    assert report["agrees"]


async def test_differences_of_every_part_are_named(admin: Admin, commands: Commands, used: dict[str, Any]) -> None:
    """What is wrong with an account, and with a rollup of long ago, both show."""
    key = {"pk": f"KEY#{used['second']}", "sk": "ACCOUNT"}
    admin.boto.update_item(Key=key, UpdateExpression="ADD cost :n", ExpressionAttributeValues={":n": 1})
    [rollup] = [it for it in admin.boto.scan()["Items"] if it["pk"] == "USAGE#2026-11-20" and "#22#demo" in it["sk"]]
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
    """Usage and reconciling end before the function is killed, in the form of all errors."""
    monkeypatch.setattr(services, "SECONDS", 0.0)
    for method, path in (("GET", "/usage"), ("POST", "/reconcile")):
        assert (await admin.refused(503, method, path))["code"] == "too_much_at_once"


async def test_hours_and_keys_that_make_no_sense(admin: Admin) -> None:
    """They are refused by name."""
    for path, body, param in (
        ("/reconcile/hours", {"since": "then"}, "since"),
        ("/reconcile/keys", {"since": "then", "keys": []}, "since"),
        ("/reconcile/keys", {"since": "2026-11-21", "keys": [{"key": "x"}]}, "keys.0.key"),
        ("/reconcile/keys", {"since": "2026-11-21", "keys": [{"key": "a" * 12}] * 101}, "keys"),
    ):
        assert (await admin.refused(400, "POST", path, body))["param"] == param


async def test_no_keys_are_nothing(admin: Admin, used: dict[str, Any]) -> None:
    """Comparing no keys gives nothing: it is not taken for all of them."""
    del used
    report = await admin.ok("POST", "/reconcile/keys", {"since": "2026-11-21T06", "keys": []})
    assert (report["agrees"], report["keys"], report["differences"]) == (True, [], [])
