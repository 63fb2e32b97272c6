"""Keys, attributes and versions of the table's items."""

import re
import time
from pathlib import Path
from typing import Any

import moto.dynamodb.parsing
import pytest

from infra.constructs import admin_functions
from lambda_fn.control import changes
from lambda_fn.control.services import Services
from lambda_fn.control.trail import Identity, Trail
from lambda_fn.ids import new_request_id
from lambda_fn.metering import account_changes, accounts, holds, keys, ledger, settlements
from lambda_fn.metering.accounts import Account, Limits, new_account
from lambda_fn.metering.dirty_hours import mark_dirty
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices
from lambda_fn.reporting import rollups
from lambda_fn.reporting.reconcile import reconcile
from lambda_fn.reporting.usage import usage
from lambda_fn.sweep.key_figures import sent_until
from lambda_fn.sweep.run import sweep
from tests.support.function import KEY, KEY_ID
from tests.support.ground import CLOSED, LATER, LONGEST, Ground, T, live
from tests.support.units import item_size

DONE = Settlement("complete", 3, 5, "stop", 12, 40)
PRICES = Prices(10, 100)
NOW = time.time()
"""The time in all request ids. It is fixed, so that no minute ends within a test."""
KINDS = {
    "KEY": keys.ACCOUNT,
    "LEDGER": keys.LEDGER,
    "ROLLED": keys.WATERMARK,
    "SENT": keys.SENT,
    "DIRTY": keys.DIRTY_HOUR,
    "USAGE": keys.ROLLUP,
    "CONTROL": keys.PAGES,
    "AUDIT": keys.AUDIT,
}
"""First part of `sk`, or of `pk`, of an item -> its attributes."""


def opening(*, reserved: int = 100, cost: int = 5000) -> Opening:
    """Return the opening of a new request."""
    return Opening(new_request_id(NOW), KEY_ID, "m", reserved, cost, PRICES)


def attributes(item: dict[str, Any]) -> set[str]:
    """Return the attributes that are declared for an item."""
    kind = item["sk"].partition("#")[0]
    return set(KINDS[kind if kind in KINDS else item["pk"].partition("#")[0]])


async def fill(ground: Ground) -> None:
    """Write an item of each kind, open and settled."""
    await live(ground.table, ground, new_request_id(T))
    await live(ground.table, ground, new_request_id(T), None, checkpoint=3)
    await sweep(ground.table, now=LATER, longest=LONGEST, stop=lambda: False)
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=lambda: False)
    await sent_until(ground.table, "2026-11-21T06")
    await live(ground.table, ground, new_request_id(T), None, checkpoint=3)
    await mark_dirty(ground.table, "2026-11-21T06")
    await Services(ground.table, ("m",)).token({}, [])
    trail, identity = Trail(ground.table, days=1), Identity("0" * 26, "unknown", "::1", "i")
    async with trail.change(
        identity, "createKey", key=ground.key_id, fields={"name": "n"}
    ) as record:
        record.after = {"name": "n"}
    await trail.refused(identity, "signIn", "invalid_admin_secret")


async def test_every_item_has_a_version_and_declared_attributes(ground: Ground) -> None:
    """Each item is put with the version `v`, in three bytes, and only with declared attributes."""
    await fill(ground)
    items = ground.items()
    kinds = {item["pk"].partition("#")[0] for item in items} | {
        item["sk"].partition("#")[0] for item in items
    }
    assert kinds >= KINDS.keys()
    for item in items:
        assert item["v"] == keys.VERSION
        assert item_size(item) - item_size({name: item[name] for name in item if name != "v"}) == 3
        assert item.keys() <= attributes(item), item


async def test_items_without_a_version_are_read_as_version_0(ground: Ground) -> None:
    """Items without a version are settled, swept, rolled, reported and reconciled like others."""
    await fill(ground)
    for item in ground.items():
        ground.boto.put_item(Item={name: value for name, value in item.items() if name != "v"})
    before = ground.bytes("USAGE#")
    await sweep(ground.table, now=LATER, longest=LONGEST, stop=lambda: False)
    await live(ground.table, ground, new_request_id(T))
    await rollups.roll(ground.table, "2026-11-21T06")
    assert ground.bytes("USAGE#") != before
    report = await reconcile(ground.table, now=lambda: LATER)
    assert report.differences == []
    rows = await usage(ground.table, since="2026-11-21T00", until="2026-11-22T00")
    assert sum(row.requests for row in rows) == 4
    assert "v" not in ground.account()


async def test_an_item_of_a_later_version_is_not_misread(ground: Ground) -> None:
    """An item of a later version is an error, and is not interpreted."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    later = {"v": keys.READABLE + 1}
    with pytest.raises(keys.UnknownVersion, match="version 2"):
        Account.of({**ground.account(), **later})
    ground.boto.put_item(Item={**ground.item(request_id), **later})
    with pytest.raises(keys.UnknownVersion, match=request_id):
        await settlements.recover(ground.table, ground.key_id, request_id, now=LATER)
    with pytest.raises(keys.UnknownVersion):
        await usage(ground.table, since="2026-11-21T00", until="2026-11-22T00")


def test_partitions_are_those_that_roles_are_granted() -> None:
    """The prefixes of the partitions are those in the IAM conditions."""
    request_id = new_request_id(T)
    granted = (
        admin_functions._KEYS,
        admin_functions._LEDGER,
        *admin_functions._ROLLUPS,
        admin_functions._TRAIL,
    )
    partitions = [
        keys.account_key(KEY_ID)["pk"],
        keys.ledger_key(request_id)["pk"],
        keys.WATERMARK_KEY["pk"],
        keys.rollup_key("2026-11-21T06", KEY_ID, "m")["pk"],
        keys.audit_partition("2026-11-21"),
    ]
    for grant, partition in zip(granted, partitions, strict=True):
        assert partition.startswith(grant.removesuffix("*"))
    assert keys.dirty_key("2026-11-21T06")["pk"] == keys.WATERMARK_KEY["pk"]
    assert keys.PAGES_KEY["pk"] == admin_functions._PAGES
    assert keys.ledger_key(request_id)["pk"] in keys.ledger_partitions(
        keys.request_hour(request_id)
    )


def test_expressions_have_declared_attributes_and_no_reserved_word() -> None:
    """Each attribute in an expression is declared, and is not reserved by DynamoDB."""
    words = Path(moto.dynamodb.parsing.__file__).parent / "reserved_keywords.txt"
    reserved = {word.strip().upper() for word in words.read_text().split()}
    syntax = {"SET", "ADD", "REMOVE", "AND", "OR", "EXISTS", "NOT"}
    begin, now = opening(), time.time()
    hold = accounts.Hold(1, 1, 1, "", "m")
    spend = settlements.spend_of(DONE, PRICES)
    item, new = new_account(KEY, name="n", now=1) | {"revision": 1}, Limits(*range(1, 8))
    of_account = [
        account_changes.rotate(item, "h", now=1, grace=1),
        account_changes.revoke(Account.of(item), now=1),
        account_changes.change_limits(Account.of(item), new, now=now),
        changes.delete(KEY_ID, now=1, token="t"),
        holds.place(KEY_ID, "h", holds.HoldRequest(begin.request_id, 1, 1, "m"), now=1),
        holds.place(
            KEY_ID, "h", holds.HoldRequest(begin.request_id, 1, 1, "m", priced=False), now=1
        ),
        holds.capture(KEY_ID, begin.request_id, hold, spend, now=now, expired=["tokens#2026-11"]),
        holds.void(KEY_ID, begin.request_id, hold, now=now),
        holds.claim(KEY_ID, begin.request_id, hold),
        holds.place_unchecked(KEY_ID, begin.request_id, model="m", now=now),
        holds.unwatch(KEY_ID),
        holds.watch_later(KEY_ID, was=1, due=2),
    ]
    of_ledger = [
        ledger.settle(begin.request_id, DONE, prices=PRICES, attempt=1, now=now, recovered=True),
        ledger.correct(begin.request_id, DONE, prices=PRICES, attempt=1, now=now),
        ledger.checkpoint(begin.request_id, prompt_tokens=1, completion_tokens=1, now=now),
        ledger.cancel(begin.request_id, key_id=KEY_ID, now=now),
    ]
    for declared, updates in ((keys.ACCOUNT, of_account), (keys.LEDGER, of_ledger)):
        for update in updates:
            for text in (update.update, update.condition):
                used = set(re.findall(r"(?<![:#\w.])[a-z_]\w*(?!\w*\()", text, re.IGNORECASE))
                names = used - syntax
                assert not {name.upper() for name in names} & reserved, text
                placeholders = set(re.findall(r"(?<!\.)#\w+", text))
                assert names | {update.names[name] for name in placeholders} <= declared.keys(), (
                    text
                )
