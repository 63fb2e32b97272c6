"""Reconcile: every difference between accounts, ledger and rollups is named.

Requests in flight are no difference.
"""

from typing import Any

import pytest

from lambda_fn.aws.dynamodb import Table
from lambda_fn.ids import new_key, new_request_id
from lambda_fn.metering import accounts, holds, ledger, settlements
from lambda_fn.metering.accounts import Correction, Spend
from lambda_fn.reporting import rollups
from lambda_fn.reporting.reconcile import Difference, compare_hours, compare_keys, reconcile
from tests.support.function import CREDENTIALS
from tests.support.ground import (
    CLOSED,
    DONE,
    LATER,
    LIMITS,
    LONGEST,
    MODEL,
    PRICES,
    Ground,
    Killed,
    T,
    live,
    opening,
    request_ids,
    reserve,
)


@pytest.fixture
async def rolled_ground(ground: Ground) -> Ground:
    """Make five requests in an hour that is rolled."""
    for request_id in request_ids(5):
        await live(ground.table, ground, request_id)
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=lambda: False)
    return ground


async def test_totals_agree(rolled_ground: Ground) -> None:
    """Account, ledger and rollups have the same totals."""
    report = await reconcile(rolled_ground.table, now=lambda: CLOSED)
    [totals] = report.keys
    assert totals.account == totals.ledger == totals.rollups
    assert totals.ledger == {
        "requests": 5,
        "prompt_tokens": 35,
        "completion_tokens": 55,
        "cost": 380,
    }
    assert (totals.open, totals.in_flight, totals.refused, report.differences) == (0, 0, 0, [])


async def test_every_difference_is_named(rolled_ground: Ground) -> None:
    """A changed figure is named with its key and both values, in each of the three places."""
    ground = rolled_ground
    ground.boto.put_item(Item={**ground.account(), "cost": 381})
    [rollup] = ground.items("USAGE#")
    ground.boto.put_item(Item={**rollup, "completion_tokens": 50})
    ground.boto.put_item(
        Item={**rollup, "sk": f"{ground.key_id}#06#ghost", "requests": 1, "outcomes": {"cut": 1}}
    )
    differences = (await reconcile(ground.table, now=lambda: CLOSED)).differences
    where = "2026-11-21T06"
    assert differences[:2] == [
        Difference(ground.key_id, "cost", ("account", "ledger"), (381, 380)),
        Difference(
            ground.key_id, f"{where} {MODEL} completion_tokens", ("ledger", "rollup"), (55, 50)
        ),
    ]
    assert (
        Difference(ground.key_id, f"{where} ghost requests", ("ledger", "rollup"), (0, 1))
        in differences
    )
    assert str(differences[0]) == f"{ground.key_id} cost: account 381, ledger 380"
    item = ground.items("LEDGER#")[0]
    ground.boto.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    fields = {one.field for one in (await reconcile(ground.table, now=lambda: CLOSED)).differences}
    assert {"requests", "prompt_tokens", "completion_tokens", f"{where} {MODEL} requests"} <= fields


async def test_what_is_on_its_way_is_no_difference(rolled_ground: Ground) -> None:
    """Unfinished requests are counted apart.

    They are open, settled but not captured, refused, or being corrected.
    """
    ground = rolled_ground
    await live(ground.table, ground, new_request_id(T), None, checkpoint=3)
    with pytest.raises(Killed):
        await live(ground.mortal(3), ground, new_request_id(T))
    corrected = new_request_id(T)
    await live(ground.table, ground, corrected)
    correction = Correction(Spend(1, 7, 11, 76), PRICES, {"outcome": "cut"})
    update = holds.place_unchecked(
        ground.key_id, corrected, model=MODEL, now=LATER, correction=correction
    )
    await ground.table.update(update)
    await rollups.roll(ground.table, "2026-11-21T06")
    report = await reconcile(ground.table, now=lambda: CLOSED)
    assert report.differences == []
    [totals] = report.keys
    assert totals.account == totals.ledger == totals.rollups
    assert (totals.open, totals.in_flight, totals.ledger["requests"]) == (1, 3, 5)


async def test_requests_go_on_meanwhile(ground: Ground) -> None:
    """Requests that begin and end while the accounts are read cause no difference."""
    for number in range(19):
        await ground.table.put(
            accounts.new_account(new_key(), name="x", now=T + number, limits=LIMITS)
        )
    clock = [T + 1.0]

    class Busy(Table):
        """A table on which a request is made between two reads of accounts."""

        reads = 0

        async def get(self, key: Any, **named: Any) -> Any:
            item = await super().get(key, **named)
            clock[0] += 0.01
            self.reads += key["sk"] == "ACCOUNT"
            if self.reads % 5 == 4:
                self.reads += 1
                [request_id] = request_ids(1, at=clock[0])
                entry = await reserve(ground.table, ground, request_id, now=int(clock[0]))
                await ground.table.put(
                    ledger.opening_item(opening(ground, request_id)), condition=ledger.NEW
                )
                clock[0] += 0.05
                await settlements.settle(
                    ground.table, opening(ground, request_id), DONE, hold=entry, now=clock[0]
                )
            return item

    busy = Busy(
        ground.http,
        url=ground.url,
        region="eu-west-1",
        name=ground.name,
        credentials=lambda: CREDENTIALS,
    )
    for _ in range(3):
        assert (await reconcile(busy, now=lambda: clock[0])).differences == []
        clock[0] += 1
    [totals] = [
        it
        for it in (await reconcile(ground.table, now=lambda: clock[0])).keys
        if it.key == ground.key_id
    ]
    assert totals.account == totals.ledger
    assert totals.ledger["requests"] >= 12


async def test_doubt_covers_no_difference(ground: Ground) -> None:
    """A missing amount is named, also if a request was settled at the moment of the read."""
    await live(ground.table, ground, new_request_id(T))
    ground.boto.put_item(Item={**ground.account(), "cost": 75})
    report = await reconcile(ground.table, now=lambda: T + 8)
    assert [str(it) for it in report.differences] == [
        f"{ground.key_id} cost: account 75, ledger 76"
    ]


async def test_the_past_goes_by_parts(rolled_ground: Ground) -> None:
    """Parts of the past add up to the result of one call. A wrong rollup is named in its part.

    Requests that have been in flight for hours are counted apart, too.
    """
    ground = rolled_ground
    with pytest.raises(Killed):
        await live(ground.mortal(3), ground, new_request_id(T))
    now = T + 9 * 3600
    await rollups.roll(ground.table, "2026-11-21T06")
    [rollup] = ground.items("USAGE#")
    parts, since, done = [], None, False
    while not done:
        part = await compare_hours(ground.table, since=since, now=lambda: now, stop=lambda: True)
        parts.append(part)
        since, done = part.until, part.done
    assert [part.since for part in parts] == [f"2026-11-21T{hour:02}" for hour in (6, 8, 10, 12)]
    assert parts[-1].until == "2026-11-21T14"
    report = await compare_keys(
        ground.table, list(parts[0].keys.values()), since=parts[-1].until, now=lambda: now
    )
    assert report.differences == []
    assert report.keys == (await reconcile(ground.table, now=lambda: now)).keys
    assert report.keys[0].ledger["requests"] == 5
    ground.boto.put_item(Item={**rollup, "cost": 1})
    assert [
        it.values for it in (await compare_hours(ground.table, now=lambda: now)).differences
    ] == [(456, 1)]
