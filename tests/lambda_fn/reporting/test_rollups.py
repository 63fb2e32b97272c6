"""Rollups: recomputed, the same byte for byte, closed hours only, and never put back by one who was
slow.
"""

import asyncio
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from lambda_fn.aws.attributes import wrap_all
from lambda_fn.aws.dynamodb import Table
from lambda_fn.ids import new_request_id
from lambda_fn.metering import hours, ledger, settlements
from lambda_fn.metering.dirty_hours import clear_mark, dirty_hours, mark_dirty
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.reporting import rollups
from lambda_fn.reporting.rollup_progress import rolled_range
from lambda_fn.reporting.usage import usage
from lambda_fn.reporting.usage_rows import UsageRow, from_item, grouped, ledger_rows, to_item
from tests.support.ground import CLOSED, DONE, LATER, LONGEST, MODEL, PRICES, Ground, T, live, opening

HOUR = hours.hour_at(T)
NEXT = hours.following(HOUR)


def never() -> bool:
    """There is always time."""
    return False


async def test_a_closed_hour_is_rolled_once(ground: Ground) -> None:
    """Hours are rolled from the oldest key's on, as soon as nothing of them can run, and only once.
    """
    await live(ground.table, ground, new_request_id(T))
    assert await rollups.advance(ground.table, now=CLOSED - 1, longest=LONGEST, stop=never) == 0
    assert await rollups.advance(ground.table, now=CLOSED + 2 * 3600, longest=LONGEST, stop=never) == 3
    assert await rollups.advance(ground.table, now=CLOSED + 2 * 3600, longest=LONGEST, stop=never) == 0
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
    """`ROLLED` does not pass an hour in which something is OPEN; its usage is read from the ledger.
    """
    await live(ground.table, ground, new_request_id(T))
    await live(ground.table, ground, new_request_id(T), None)
    assert await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=never) == 0
    [row] = await usage(ground.table, since=HOUR, until=NEXT)
    assert (row.requests, row.open) == (1, 1)


async def test_deleted_and_rebuilt(ground: Ground) -> None:
    """Rollups that were deleted, changed or invented are the same again, byte for byte, after a
    rebuild.
    """
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
    done = await rollups.rebuild(ground.table, hours.hour_at(T - 5 * 3600), NEXT)
    assert ground.bytes("USAGE#") == before
    assert sum(one.changed for _, one in done) == 6
    assert not any(one.changed for _, one in await rollups.rebuild(ground.table, hours.hour_at(T - 5 * 3600), NEXT))


async def test_the_slower_of_two_cannot_put_old_sums_back(ground: Ground) -> None:
    """Who read the ledger before a request was settled, and writes after another has rolled, has to
    roll anew.
    """
    await live(ground.table, ground, new_request_id(T))
    read, go = asyncio.Event(), asyncio.Event()

    class Slow(Table):
        async def put(self, *given: Any, **named: Any) -> None:
            read.set()
            await go.wait()
            await super().put(*given, **named)

    table = ground.table
    slow = Slow(ground.http, url=table._url, region=table._region, name=ground.name, credentials=table._credentials)
    first = asyncio.create_task(rollups.roll(slow, HOUR))
    await read.wait()
    await live(ground.table, ground, new_request_id(T))
    await rollups.roll(ground.table, HOUR)
    go.set()
    assert (await first).rows == 1
    assert [item["requests"] for item in ground.items("USAGE#")] == [2]


async def test_a_late_correction_rolls_its_hour_again(ground: Ground) -> None:
    """A settlement that is recorded after its hour was rolled is in the rollups after the next
    sweep.
    """
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None, checkpoint=2)
    await settlements.recover(ground.table, ground.key_id, request_id, now=LATER)
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=never)
    assert [(item["recovered"], item["completion_tokens"]) for item in ground.items("USAGE#")] == [(1, 2)]
    assert await settlements.replay(ground.table, opening(ground, request_id), DONE, now=CLOSED)
    assert await rollups.roll_dirty(ground.table, stop=never) == 1
    assert [(item["recovered"], item["completion_tokens"]) for item in ground.items("USAGE#")] == [(0, 11)]
    assert await dirty_hours(ground.table) == []


async def test_a_mark_that_was_renewed_stays(ground: Ground) -> None:
    """An hour that is changed again while it is rolled stays marked."""
    await mark_dirty(ground.table, HOUR)
    [(hour, token)] = await dirty_hours(ground.table)
    await mark_dirty(ground.table, HOUR)
    assert not await clear_mark(ground.table, hour, token)
    assert len(await dirty_hours(ground.table)) == 1


async def test_usage_is_rollups_and_the_open_hours(ground: Ground) -> None:
    """Usage has rolled hours from rollups and later ones from the ledger, of all keys or one."""
    await live(ground.table, ground, new_request_id(T))
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=never)
    await live(ground.table, ground, new_request_id(T + 3600))
    for key in (None, ground.key_id):
        rows = await usage(ground.table, since="2026-11-20T00", until="2026-11-22T00", key=key)
        assert [(row.hour, row.requests, row.cost) for row in rows] == [(HOUR, 1, 76), (NEXT, 1, 76)]
    assert await usage(ground.table, since="2026-11-20T00", until="2026-11-22T00", key="b" * 12) == []
    with pytest.raises(ValueError, match="unconverted"):
        await usage(ground.table, since="2026-11-20T99", until="2026-11-20T00")


def test_rows_group_and_keep_their_sums() -> None:
    """Rows that are grouped, one way or another, add up to the same."""
    rows = [
        UsageRow(f"2026-11-2{day}T0{hour}", key, model, 2, 3, 5, 7, 1, {"complete": 1, "cut": 1}, open=day)
        for day in (0, 1)
        for hour in (1, 2)
        for key in ("k", "l")
        for model in ("m", "n")
    ]
    whole = grouped(rows, [])
    assert whole == [UsageRow("", "", "", 32, 48, 80, 112, 16, {"complete": 16, "cut": 16}, open=8)]
    by_day = grouped(rows, ["day", "key"])
    assert [(row.hour, row.key, row.model) for row in by_day] == [
        ("2026-11-20", "k", ""),
        ("2026-11-20", "l", ""),
        ("2026-11-21", "k", ""),
        ("2026-11-21", "l", ""),
    ]
    for by in (["hour"], ["model"], ["key", "day"], ["hour", "key", "model"]):
        assert grouped(grouped(rows, by), []) == whole  # type: ignore[arg-type] # they are names


def test_a_row_is_its_item() -> None:
    """A row that is written and read is the same."""
    row = UsageRow("2026-11-21T06", "k", "a/model:1", 2, 3, 5, 7, 1, {"complete": 1, "cut": 1})
    assert from_item(to_item(row)) == row


def test_hours() -> None:
    """Hours follow each other over the ends of days, and what is no hour is refused."""
    assert list(hours.between("2026-12-31T22", "2027-01-01T01")) == ["2026-12-31T22", "2026-12-31T23", "2027-01-01T00"]
    assert hours.days_between("2026-12-31T22", "2027-01-01T01") == ["2026-12-31", "2027-01-01"]
    for wrong in ("2026-12-31", "2026-12-31T24", "2026-12-31T1 ", "x" * 13):
        with pytest.raises(ValueError, match=r"hour|time data|unconverted"):
            hours.begins(wrong)


class Pages(Table):
    """DynamoDB's pages: each of its shards has so many, of 300 requests each."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: dict[str, int] = {}
        request_id = new_request_id(T)
        item = ledger.opening_item(Opening(request_id, "abcdefghijkl", MODEL, 100, 400, PRICES))
        counts = {"outcome": "complete", "prompt_tokens": 7, "completion_tokens": 11, "cost": 76}
        self.items = [wrap_all({**item, **counts, "state": "SETTLED", "sk": f"{number}"}) for number in range(300)]

    async def _call(self, operation: str, call: Mapping[str, Any], *_given: Any, **_named: Any) -> dict[str, Any]:
        shard = call["ExpressionAttributeValues"][":pk"]["S"]
        page = self.read[shard] = self.read.get(shard, 0) + 1
        await asyncio.sleep(0)
        names = {call["ExpressionAttributeNames"][name] for name in call["ProjectionExpression"].split(", ")}
        items = [{name: {**item[name]} for name in names & item.keys()} for item in self.items]
        return {"Items": items, **({"LastEvaluatedKey": wrap_all({"pk": shard})} if page < self.count else {})}


async def test_an_hour_is_summed_page_by_page() -> None:
    """An hour of six times the requests takes no more memory, and nothing is read of them that is
    not summed.
    """
    peaks = []
    for pages in (2, 12):
        tracemalloc.start()
        [row] = await ledger_rows(Pages(pages), HOUR)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (row.requests, row.cost) == (8 * pages * 300, 8 * pages * 300 * 76)
    assert peaks[1] < 1.2 * peaks[0]
