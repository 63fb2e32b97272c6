"""The sweeper makes accounts, ledger and rollups exact after any function was killed.

It also does so after the sweeper itself was killed.
"""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from lambda_fn.ids import new_request_id
from lambda_fn.metering import accounts, ledger, settlements
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.ledger import Settlement
from lambda_fn.reporting import rollups
from lambda_fn.reporting.reconcile import reconcile
from lambda_fn.sweep.run import sweep
from tests.support.ground import (
    CLOSED,
    DONE,
    LATER,
    LONGEST,
    Ground,
    Killed,
    T,
    live,
    never,
    opening,
    prove,
    request_ids,
    reserve,
    swept,
)


@pytest.mark.parametrize("checkpoint", [0, 4])
async def test_killed_at_any_call(ground: Ground, checkpoint: int) -> None:
    """One sweep repairs the leftovers of a function that was killed after any of its calls."""
    at, killed, ids = 0, True, []
    while killed:
        request_id = new_request_id(T)
        ids.append(request_id)
        killed = False
        try:
            await live(ground.mortal(at, after=True), ground, request_id, checkpoint=checkpoint)
        except Killed:
            killed, at = True, at + 1
    result = await swept(ground.table)
    assert not {"open", "due"} & ground.account().keys()
    items = {item["sk"]: item for item in await prove(ground)}
    assert (result.failures, result.finished) == (0, True)
    assert at == len(ids) - 1 == (5 if checkpoint else 4)
    for request_id, item in items.items():
        counts = (int(item["prompt_tokens"]), int(item["completion_tokens"]))
        # from the last checkpoint, or as the function settled it
        assert counts in ({(0, 0), (7, 4), (7, 11)} if checkpoint else {(0, 0), (7, 11)})
        assert bool(item.get("recovered")) == (counts != (7, 11))
        assert request_id in ids
    assert "recovered" not in items[ids[-1]]


async def leave(ground: Ground, number: int) -> None:
    """Leave one request as a killed function may.

    It is half admitted, not settled, with a checkpoint, or not captured.
    """
    request_id = new_request_id(T)
    match number % 5:
        case 0:
            await live(ground.table, ground, request_id, None, checkpoint=6)
        case 1:
            await live(ground.table, ground, request_id, None)
        case 2:
            await reserve(ground.table, ground, request_id)
        case 3:
            await ground.table.put(ledger.opening_item(opening(ground, request_id)))
        case 4:
            with pytest.raises(Killed):
                await live(ground.mortal(3), ground, request_id)


async def test_sweeper_killed_at_any_call(ground: Ground) -> None:
    """A whole sweep finishes the work of sweeps that were killed before or after any call."""
    at = 0
    while True:
        await leave(ground, at // 2)
        killed = False
        try:
            await swept(ground.mortal(at, after=bool(at % 4)))
        except* Killed:
            killed = True
        if not killed:
            break
        at += 2
    assert at > 25
    assert len(await prove(ground)) == at // 2 + 1


async def test_two_sweepers_at_once_and_again(ground: Ground) -> None:
    """Two concurrent sweeps do each thing once. A further sweep changes nothing."""
    for number in range(10):
        await leave(ground, number)
    results = await asyncio.gather(swept(ground.table), swept(ground.table))
    assert sum(result.failures for result in results) == 0
    before = ground.bytes()
    again = await swept(ground.table)
    assert (again.overdue, again.hours) == (0, 0)
    assert ground.bytes() == before
    await prove(ground)


async def test_what_is_not_overdue_is_left_alone(ground: Ground) -> None:
    """A request that may be running is not touched. Its account is watched until the end."""
    old, young = new_request_id(T), new_request_id(T + 300)
    await live(ground.table, ground, old, None, checkpoint=3)
    await reserve(ground.table, ground, young, now=T + 300)
    await ground.table.put(ledger.opening_item(opening(ground, young)))
    before = ground.item(young)
    result = await swept(ground.table, now=T + LONGEST + 10)
    assert result.done == {"settled": 1}
    assert ground.item(young) == before
    account = await ground.table.get(account_key(ground.key_id))
    assert account is not None
    assert list(account["in_flight"]) == [young]
    assert T + 300 + LONGEST < account["due"] <= T + 300 + LONGEST + 2
    await settlements.settle(
        ground.table,
        opening(ground, young),
        DONE,
        hold=accounts.Hold.parse(account["in_flight"][young]),
        now=T + 400,
    )
    await prove(ground)


async def test_a_deleted_key(ground: Ground) -> None:
    """The usage of a deleted key's killed stream stays in the ledger.

    A request that never began is settled as refused.
    """
    killed = new_request_id(T)
    await swept(ground.table, now=T)
    await live(ground.table, ground, killed, None, checkpoint=9)
    await ground.table.delete(account_key(ground.key_id))
    never = new_request_id(T)
    await ground.table.put(ledger.opening_item(opening(ground, never)))
    await swept(ground.table)
    assert (ground.item(killed)["outcome"], ground.item(killed)["completion_tokens"]) == ("cut", 9)
    assert (ground.item(never)["outcome"], ground.item(never)["key"]) == ("refused", ground.key_id)
    await swept(ground.table, now=CLOSED)
    report = await reconcile(ground.table, now=lambda: CLOSED + 2 * 3600)
    assert (report.differences, [one.key for one in report.keys]) == ([], [ground.key_id])
    assert report.keys[0].account is None


async def test_it_stops_when_its_time_is_over(ground: Ground) -> None:
    """A sweep begins nothing more when its time is over. The next one continues."""
    for request_id in request_ids(20):
        await live(ground.table, ground, request_id, None)
    calls = iter(range(1000))
    result = await sweep(ground.table, now=LATER, longest=LONGEST, stop=lambda: next(calls) > 22)
    assert not result.finished
    assert 0 < result.overdue < 20
    assert (await swept(ground.table)).overdue == 20 - result.overdue
    await prove(ground)


async def test_an_item_that_makes_no_sense_stops_no_other(ground: Ground) -> None:
    """A malformed item counts as a failure, and the rest is swept."""
    [broken, whole] = request_ids(2)
    await live(ground.table, ground, whole, None)
    item = ledger.opening_item(opening(ground, broken))
    await ground.table.put({name: value for name, value in item.items() if name != "key"})
    result = await swept(ground.table)
    assert (result.failures, result.done["settled"]) == (1, 1)
    assert ground.item(whole)["state"] == "SETTLED"


async def test_many_items_that_make_no_sense_stop_no_sweep(ground: Ground) -> None:
    """Even with many malformed items, accounts are swept and hours are rolled."""
    for number in range(12):
        await ground.table.put(
            {"pk": f"LEDGER#bad{number}", "sk": "x", "open": "LEDGER#0", "due": 1}
        )
    [request_id] = request_ids(1)
    await live(ground.table, ground, request_id, None)
    result = await swept(ground.table, now=CLOSED)
    assert (result.failures, result.accounts, result.hours, result.finished) == (12, 1, 1, True)


@pytest.mark.parametrize("killed", [None, 0, 1, 2, 3, 4, 5, 6, 7])
async def test_what_comes_late_into_a_rolled_hour(ground: Ground, killed: int | None) -> None:
    """A ledger item that is written into a rolled hour reaches the rollups when settled.

    It does so also without an account.
    """
    [request_id] = request_ids(1)
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=never)
    late = replace(opening(ground, request_id), key_id="a" * 12)
    await ground.table.put(ledger.opening_item(late), condition=ledger.NEW)
    await ground.table.update(
        ledger.checkpoint(request_id, prompt_tokens=7, completion_tokens=3, now=T + 5)
    )
    if killed is not None:
        with contextlib.suppress(Killed, BaseExceptionGroup):
            await swept(ground.mortal(8 + killed, after=True), now=CLOSED)
    await swept(ground.table, now=CLOSED)
    await swept(ground.table, now=CLOSED + 2 * LONGEST)
    assert (await reconcile(ground.table, now=lambda: CLOSED + 2 * 3600)).differences == []
    assert [item["outcomes"] for item in ground.items("USAGE#")] == [{"cut": 1}]


async def test_a_function_that_was_only_slow(ground: Ground) -> None:
    """If a slow function settles after the sweeper, the function's figures count."""
    request_id = new_request_id(T)
    opened = opening(ground, request_id)
    entry = await reserve(ground.table, ground, request_id)
    await ground.table.put(ledger.opening_item(opened))
    await swept(ground.table)
    await settlements.settle(ground.table, opened, DONE, hold=entry, now=LATER)
    [item] = await prove(ground)
    assert (item["outcome"], item["completion_tokens"], "recovered" in item) == (
        "complete",
        11,
        False,
    )


async def test_a_settlement_of_nothing(ground: Ground) -> None:
    """A request that failed before any token is settled with nothing, once."""
    failed = Settlement("failed", 0, 0, None, None, 30)
    await live(ground.table, ground, new_request_id(T), failed)
    [item] = await prove(ground)
    assert (item["outcome"], ground.account()["requests"]) == ("failed", 1)
