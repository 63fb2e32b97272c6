"""Rollups are computed from the ledger, only for closed hours, and always equal byte for byte.

A slow process never overwrites newer ones.
"""

import asyncio
from typing import Any

from lambda_fn.aws.dynamodb import Table
from lambda_fn.ids import new_request_id
from lambda_fn.metering import hours, settlements
from lambda_fn.metering.dirty_hours import dirty_hours
from lambda_fn.metering.ledger import Settlement
from lambda_fn.reporting import rollups
from lambda_fn.reporting.rollup_progress import rolled_range
from lambda_fn.reporting.usage import usage
from tests.support.ground import CLOSED, DONE, LATER, LONGEST, MODEL, Ground, T, live, opening

HOUR = hours.hour_at(T)
NEXT = hours.following(HOUR)


def never() -> bool:
    """Return that there is always time."""
    return False


async def test_a_closed_hour_is_rolled_once(ground: Ground) -> None:
    """Hours are rolled once, from the oldest key's on, when no request in them can be running."""
    await live(ground.table, ground, new_request_id(T))
    assert await rollups.advance(ground.table, now=CLOSED - 1, longest=LONGEST, stop=never) == 0
    assert (
        await rollups.advance(ground.table, now=CLOSED + 2 * 3600, longest=LONGEST, stop=never) == 3
    )
    assert (
        await rollups.advance(ground.table, now=CLOSED + 2 * 3600, longest=LONGEST, stop=never) == 0
    )
    assert await rolled_range(ground.table) == (HOUR, hours.hour_at(T + 3 * 3600))
    [item] = ground.items("USAGE#")
    assert item == {
        "pk": "USAGE#2026-11-21",
        "v": 1,
        "sk": f"{ground.key_id}#06#{MODEL}",
        "requests": 1,
        "prompt_tokens": 7,
        "completion_tokens": 11,
        "cost": 76,
        "recovered": 0,
        "outcomes": {"complete": 1},
    }


async def test_an_hour_with_something_open_waits(ground: Ground) -> None:
    """The watermark stops at an hour with an OPEN request. The ledger has that hour's usage."""
    await live(ground.table, ground, new_request_id(T))
    await live(ground.table, ground, new_request_id(T), None)
    assert await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=never) == 0
    [row] = await usage(ground.table, since=HOUR, until=NEXT)
    assert (row.requests, row.open) == (1, 1)


async def test_deleted_and_rebuilt(ground: Ground) -> None:
    """A rebuild restores deleted, changed or invented rollups byte for byte."""
    for number in range(12):
        outcome = DONE if number % 3 else Settlement("cut", number, 2 * number, None, 5, 9)
        await live(ground.table, ground, new_request_id(T - 1200 * number), outcome)
    await rollups.rebuild(ground.table, hours.hour_at(T - 5 * 3600), NEXT)
    before = ground.bytes("USAGE#")
    items = ground.items("USAGE#")
    assert len(items) == 4
    for number, item in enumerate(items):
        key = {"pk": item["pk"], "sk": item["sk"]}
        if number % 2:
            ground.boto.delete_item(Key=key)
        else:
            ground.boto.put_item(Item={**item, "cost": item["cost"] + 1})
            ground.boto.put_item(Item={**item, "sk": item["sk"] + "-other"})
    assert ground.bytes("USAGE#") != before
    rebuilt = await rollups.rebuild(ground.table, hours.hour_at(T - 5 * 3600), NEXT)
    assert ground.bytes("USAGE#") == before
    assert sum(rollup.changed for _, rollup in rebuilt) == 6
    assert not any(
        rollup.changed
        for _, rollup in await rollups.rebuild(ground.table, hours.hour_at(T - 5 * 3600), NEXT)
    )


async def test_the_slower_of_two_cannot_put_old_sums_back(ground: Ground) -> None:
    """A process that read the ledger before another one rolled the hour must roll it again."""
    await live(ground.table, ground, new_request_id(T))
    read, go = asyncio.Event(), asyncio.Event()

    class Slow(Table):
        async def put(self, *arguments: Any, **named: Any) -> None:
            read.set()
            await go.wait()
            await super().put(*arguments, **named)

    table = ground.table
    slow = Slow(
        ground.http,
        url=table._url,
        region=table._region,
        name=ground.name,
        credentials=table._credentials,
    )
    first = asyncio.create_task(rollups.roll(slow, HOUR))
    await read.wait()
    await live(ground.table, ground, new_request_id(T))
    await rollups.roll(ground.table, HOUR)
    go.set()
    assert (await first).rows == 1
    assert [item["requests"] for item in ground.items("USAGE#")] == [2]


async def test_a_late_correction_rolls_its_hour_again(ground: Ground) -> None:
    """If a settlement in a rolled hour is corrected, the next sweep rolls the hour again."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None, checkpoint=2)
    await settlements.recover(ground.table, ground.key_id, request_id, now=LATER)
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=never)
    assert [(item["recovered"], item["completion_tokens"]) for item in ground.items("USAGE#")] == [
        (1, 2)
    ]
    assert await settlements.replay(ground.table, opening(ground, request_id), DONE, now=CLOSED)
    assert await rollups.roll_dirty(ground.table, stop=never) == 1
    assert [(item["recovered"], item["completion_tokens"]) for item in ground.items("USAGE#")] == [
        (0, 11)
    ]
    assert await dirty_hours(ground.table) == []
