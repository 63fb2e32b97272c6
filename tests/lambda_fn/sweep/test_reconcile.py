"""Reconcile: every difference between accounts, ledger and rollups is named, and what is on its way is none."""

import asyncio

import pytest

from lambda_fn import reservations, rollups
from lambda_fn.accounts import Correction, Spend
from lambda_fn.ids import new_request_id
from lambda_fn.reconcile import Difference, reconcile
from tests.lambda_fn.sweep.conftest import (
    CLOSED,
    LATER,
    LONGEST,
    MODEL,
    Ground,
    Killed,
    T,
    live,
    request_ids,
)


@pytest.fixture
async def rolled_ground(ground: Ground) -> Ground:
    """Five requests in an hour that is rolled."""
    for request_id in request_ids(5):
        await live(ground.table, ground, request_id)
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=lambda: False)
    return ground


async def test_totals_agree(rolled_ground: Ground) -> None:
    """Account, ledger and rollups have the same totals."""
    report = await reconcile(rolled_ground.table, now=lambda: CLOSED)
    [one] = report.keys
    assert one.account == one.ledger == one.rollups
    assert one.ledger == {"requests": 5, "prompt_tokens": 35, "completion_tokens": 55, "cost": 380}
    assert (one.open, one.in_flight, one.refused, report.differences) == (0, 0, 0, [])


async def test_every_difference_is_named(rolled_ground: Ground) -> None:
    """A figure that somebody changed is named with its key and both values, in each of the three places."""
    ground = rolled_ground
    ground.boto.put_item(Item={**ground.account(), "cost": 381})
    [rollup] = ground.items("USAGE#")
    ground.boto.put_item(Item={**rollup, "completion_tokens": 50})
    ground.boto.put_item(Item={**rollup, "sk": f"{ground.key_id}#06#ghost", "requests": 1, "outcomes": {"cut": 1}})
    found = (await reconcile(ground.table, now=lambda: CLOSED)).differences
    where = "2026-11-21T06"
    assert found[:2] == [
        Difference(ground.key_id, "cost", ("account", "ledger"), (381, 380)),
        Difference(ground.key_id, f"{where} {MODEL} completion_tokens", ("ledger", "rollup"), (55, 50)),
    ]
    assert Difference(ground.key_id, f"{where} ghost requests", ("ledger", "rollup"), (0, 1)) in found
    assert str(found[0]) == f"{ground.key_id} cost: account 381, ledger 380"
    item = ground.items("LEDGER#")[0]
    ground.boto.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    fields = {one.field for one in (await reconcile(ground.table, now=lambda: CLOSED)).differences}
    assert {"requests", "prompt_tokens", "completion_tokens", f"{where} {MODEL} requests"} <= fields


async def test_what_is_on_its_way_is_no_difference(rolled_ground: Ground) -> None:
    """Requests that are open, settled but not released, refused, or being corrected are shown apart."""
    ground = rolled_ground
    await live(ground.table, ground, new_request_id(T), None, checkpoint=3)
    with pytest.raises(Killed):
        await live(ground.mortal(3), ground, new_request_id(T))
    corrected = new_request_id(T)
    await live(ground.table, ground, corrected)
    correction = Correction(Spend(1, 7, 11, 76), (3, 5), {"outcome": "cut"})
    enter = reservations.enter(ground.key_id, corrected, model=MODEL, now=LATER, correction=correction)
    await ground.table.update(enter)
    await rollups.roll(ground.table, "2026-11-21T06")
    report = await reconcile(ground.table, now=lambda: CLOSED)
    assert report.differences == []
    [one] = report.keys
    assert one.account == one.ledger == one.rollups
    assert (one.open, one.in_flight, one.ledger["requests"]) == (1, 3, 5)


async def test_requests_go_on_meanwhile(ground: Ground) -> None:
    """A report that is made while requests come and go finds no difference."""
    done = asyncio.Event()

    async def load() -> None:
        for request_id in request_ids(12):
            await live(ground.table, ground, request_id)
        done.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load())
        while not done.is_set():
            assert (await reconcile(ground.table, now=lambda: CLOSED)).differences == []
    [one] = (await reconcile(ground.table, now=lambda: CLOSED)).keys
    assert one.ledger["requests"] == 12
