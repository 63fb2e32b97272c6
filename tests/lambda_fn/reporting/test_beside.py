"""Readers of many items while others change them between any two reads.

Keys and requests come and go, and there are items of unknown kinds.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_fn.aws.attributes import wrap_all
from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.control import changes, models_in
from lambda_fn.control.routers.keys import page_of_accounts
from lambda_fn.control.services import Services
from lambda_fn.ids import hash_key, key_id_of, new_key, new_request_id
from lambda_fn.metering import accounts, hours, ledger
from lambda_fn.metering.holds import (
    HoldRequest,
    place,
    place_unchecked,
    unwatch,
    void,
    watch_later,
)
from lambda_fn.metering.keys import account_key, ledger_key
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.reporting.reconcile import KeyTotals, compare_keys, every_key, reconcile
from lambda_fn.reporting.usage import usage
from lambda_fn.sweep.run import sweep
from tests.support.ground import LATER, LONGEST, PRICES, T
from tests.support.network import SERVER_VARIABLE, Fate, Network, create_table, operate

HOUR = hours.hour_at(T)
DONE = Settlement("complete", 7, 11, "stop", 12, 400)


class Beside:
    """A table, and other clients that change it before chosen calls."""

    def __init__(self, plan: dict[int, Sequence[str]]) -> None:
        """Set the changes before each call, by the call's number from 0."""
        self.plan = plan
        self.calls = 0
        self.keys: list[str] = []
        create_table("beside")
        self.network = Network(self.fate)
        self.table: Table = self.network.table("beside")
        for _ in range(2):
            self.make()
            self.request()

    def fate(self, _: str) -> Fate:
        """Make the changes that are planned before this call."""
        actions = self.plan.get(self.calls, ())
        self.calls += 1
        for action in actions:
            getattr(self, action)()
        return Fate.WELL

    def put(self, item: dict[str, Any]) -> None:
        """Write an item."""
        operate("PutItem", TableName="beside", Item=wrap_all(item))

    def make(self) -> None:
        """Create a key."""
        key = new_key()
        self.keys.append(key_id_of(key) or "")
        self.put(accounts.new_account(key, name="n", now=int(T) - 60))

    def delete(self) -> None:
        """Delete a key as the admin API does."""
        key = account_key(self.keys[0])
        item = {**accounts.new_account(new_key(self.keys[0]), name="n", now=int(T) - 60), **key}
        self.put({**item, "deleted": int(T), "deletion": "x", "enabled": False, "secret_hash": ""})

    def remove(self) -> None:
        """Remove a key's item."""
        key = account_key(self.keys[-1])
        operate("DeleteItem", TableName="beside", Key=wrap_all(key))

    def request(self) -> None:
        """Write a settled request."""
        self.opened(Opening(new_request_id(T), self.keys[-1], "m", 100, 400, PRICES), settled=True)

    def open(self) -> None:
        """Write a request that never ends."""
        self.opened(Opening(new_request_id(T), self.keys[-1], "m", 100, 400, PRICES), settled=False)

    def opened(self, opening: Opening, *, settled: bool) -> None:
        """Write a ledger item."""
        item = ledger.opening_item(opening)
        if settled:
            figures = {
                "outcome": "complete",
                "prompt_tokens": 7,
                "completion_tokens": 11,
                "cost": 76,
            }
            item = {name: value for name, value in item.items() if name not in {"open", "due"}}
            item |= {"state": "SETTLED", "settled": T + 8, "entry": 1, **figures}
        self.put(item)

    def foreign(self) -> None:
        """Write items of unknown kinds into known partitions."""
        request_id = new_request_id(T)
        self.put(ledger_key(request_id))
        self.put(
            {**ledger_key(new_request_id(T)), "state": "SETTLED", "key": self.keys[0], "model": "m"}
        )
        self.put({"pk": f"USAGE#{HOUR[:10]}", "sk": "note"})
        self.put({"pk": f"USAGE#{HOUR[:10]}", "sk": f"{self.keys[0]}#06#m"})


ACTIONS = ("make", "request", "open", "delete", "foreign", "remove")


async def _compare(beside: Beside) -> None:
    await compare_keys(
        beside.table, [KeyTotals(key) for key in beside.keys], since=HOUR, now=lambda: LATER
    )


async def _compare_none(beside: Beside) -> None:
    report = await compare_keys(beside.table, [], since=HOUR, now=lambda: LATER)
    assert (report.keys, report.differences) == ([], [])


async def _reconcile(beside: Beside) -> None:
    await reconcile(beside.table, now=lambda: T + 2 * 3600)
    await every_key(beside.table)


async def _usage(beside: Beside) -> None:
    for key in (None, beside.keys[0]):
        await usage(beside.table, since=HOUR, until=hours.following(HOUR), key=key)


async def _list(beside: Beside) -> None:
    accounts, _ = await page_of_accounts(
        models_in.ListKeys(), Services(beside.table, ("m",)), "keys"
    )
    for item in accounts:
        changes.key_response(item)
        changes.budget_response(item, now=T)


async def _sweep(beside: Beside) -> None:
    await sweep(beside.table, now=LATER, longest=LONGEST, stop=lambda: False)


READERS: dict[str, Callable[[Beside], Awaitable[None]]] = {
    "compare": _compare,
    "compare none": _compare_none,
    "reconcile": _reconcile,
    "usage": _usage,
    "list": _list,
    "sweep": _sweep,
}


@pytest.fixture(autouse=True)
def at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock to the time of the requests."""
    monkeypatch.setattr(time, "time", lambda: T)


@pytest.mark.parametrize("reader", READERS)
async def test_something_happens_between_two_reads(reader: str) -> None:
    """A reader completes, whatever happens before any of its calls."""
    alone = Beside({})
    await READERS[reader](alone)
    for at in range(0, alone.calls, max(1, alone.calls // 12)):
        await READERS[reader](Beside({at: ACTIONS}))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=st.dictionaries(
        st.integers(0, 30), st.lists(st.sampled_from(ACTIONS), max_size=3), max_size=9
    ),
    reader=st.sampled_from([*READERS]),
)
def test_many_things_happen_between_reads(plan: dict[int, Sequence[str]], reader: str) -> None:
    """A reader completes when many things happen between its reads."""
    asyncio.run(READERS[reader](Beside(plan)))  # type: ignore[arg-type]


async def test_no_change_makes_an_item() -> None:
    """A change of a missing item fails, so no item has only some of its attributes.

    moto cannot take the size of a missing attribute, which is `unwatch`'s condition, so that one is
    tried over dynalite alone.
    """
    beside = Beside({})
    key, request_id = new_key(), new_request_id(T)
    key_id = key_id_of(key) or ""
    item = accounts.new_account(key, name="n", now=1)
    account, entry = accounts.Account.of(item), accounts.Hold(1, 1, 1, "", "m")
    updates = [
        changes.rotate(item, "h", now=1, grace=1),
        changes.delete(key_id, now=1, token="t"),
        place(key_id, hash_key(key), HoldRequest(request_id, 1, 1, "m"), now=1),
        void(key_id, request_id, entry, now=T),
        place_unchecked(key_id, request_id, model="m", now=T),
        watch_later(key_id, was=1, due=2),
        ledger.settle(request_id, DONE, prices=PRICES, attempt=1, now=T),
        ledger.correct(request_id, DONE, prices=PRICES, attempt=1, now=T),
        ledger.checkpoint(request_id, prompt_tokens=1, completion_tokens=1, now=T),
        ledger.cancel(request_id, key_id=key_id, now=T),
    ]
    change = changes.change(account, models_in.KeyUpdate(enabled=False), now=T)
    assert change is not None
    if SERVER_VARIABLE in os.environ:
        updates.append(unwatch(key_id))
    for update in (*updates, change):
        with pytest.raises(ConditionFailed) as failed:
            await beside.table.update(update)
        assert failed.value.item is None
