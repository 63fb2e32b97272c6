"""Replay writes settlements that were only logged, once, whatever happened in between."""

import json
from typing import Any

import pytest
from msgspec.structs import asdict

from lambda_fn.aws.dynamodb import Table
from lambda_fn.ids import key_id_of, new_key, new_request_id
from lambda_fn.metering import accounts, keys, ledger, settlements
from lambda_fn.metering.ledger import Settlement
from lambda_fn.reporting.replay import ReplayResult
from lambda_fn.reporting.replay import replay as replay_at
from lambda_fn.stream.settle import unsaved
from tests.support.ground import (
    CLOSED,
    DONE,
    LATER,
    LIMITS,
    Ground,
    Killed,
    T,
    live,
    opening,
    prove,
    swept,
)


def line(ground: Ground, request_id: str, settlement: Settlement = DONE) -> str:
    """Return the line that `settle` logs."""
    opened = opening(ground, request_id)
    figures = {
        "request_id": request_id,
        "key": ground.key_id,
        "model": opened.model,
        **asdict(settlement),
    }
    record = {"event": "settlement_unsaved", **figures, **unsaved(opened, T + 9), "reason": "down"}
    return json.dumps(record)


async def replay(table: Table, lines: list[str]) -> ReplayResult:
    """Replay lines, at a time after all requests."""
    return await replay_at(table, lines, now=lambda: LATER)


async def test_each_way_that_a_settlement_can_be_missing(ground: Ground) -> None:
    """A line makes a request exact, once.

    The request may not have been opened, or it is OPEN, has no hold, or its hold is not captured.
    """
    ids = [new_request_id(T) for _ in range(5)]
    _, unopened, unsettled, unreserved, unreleased = ids
    for request_id, calls in ((unopened, 1), (unreleased, 3)):
        with pytest.raises(Killed):
            await live(ground.mortal(calls), ground, request_id)
    await live(ground.table, ground, unsettled, None)
    await ground.table.put(ledger.opening_item(opening(ground, unreserved)))
    lines = ["START RequestId: 1", *(line(ground, request_id) for request_id in ids)]
    first = await replay(ground.table, lines)
    assert (first.settled, first.corrected, first.already, first.failed, first.malformed) == (
        4,
        0,
        1,
        [],
        [],
    )
    second = await replay(ground.table, lines)
    assert (second.settled, second.corrected, second.already) == (0, 0, 5)
    items = await prove(ground)
    settled = [(item["outcome"], item["completion_tokens"], "recovered" in item) for item in items]
    assert settled == [("complete", 11, False)] * 5


async def test_what_the_sweeper_recovered_is_corrected(ground: Ground) -> None:
    """A line replaces the sweeper's settlement of a request, also in an hour that has rollups."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None, checkpoint=4)
    await swept(ground.table, now=CLOSED)
    assert ground.item(request_id)["recovered"]
    report = await replay(ground.table, [line(ground, request_id)])
    assert (report.corrected, report.rolled) == (1, 1)
    [item] = await prove(ground)
    assert (item["outcome"], item["completion_tokens"], "recovered" in item) == (
        "complete",
        11,
        False,
    )
    [rollup] = ground.items("USAGE#")
    assert (rollup["requests"], rollup["recovered"]) == (1, 0)


async def test_a_replay_that_is_killed(ground: Ground) -> None:
    """If a replay is killed after any call, the next one or the sweeper finishes it."""
    at, killed = 0, True
    while killed:
        request_id = new_request_id(T)
        await live(ground.table, ground, request_id, None, checkpoint=4)
        await settlements.recover(ground.table, ground.key_id, request_id, now=LATER)
        killed = False
        try:
            await replay(ground.mortal(at, after=True), [line(ground, request_id)])
        except Killed:
            killed = True
            if at % 2:
                await settlements.recover(ground.table, ground.key_id, request_id, now=LATER)
            await replay(ground.table, [line(ground, request_id)])
        at += 1
    assert at > 8
    items = await prove(ground)
    assert {
        (item["outcome"], item["completion_tokens"], "recovered" in item) for item in items
    } == {("complete", 11, False)}


async def test_a_line_of_a_deleted_key(ground: Ground) -> None:
    """The usage of a deleted account is written only to the ledger."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None, checkpoint=4)
    await ground.table.delete({"pk": f"KEY#{ground.key_id}", "sk": "ACCOUNT"})
    await swept(ground.table)
    assert (await replay(ground.table, [line(ground, request_id)])).corrected == 1
    assert ground.item(request_id)["completion_tokens"] == 11
    assert (await replay(ground.table, [line(ground, request_id)])).already == 1


async def test_rollups_of_a_later_deployment(ground: Ground) -> None:
    """A watermark of a later version is a failure of the result, and the line is settled."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    later = {**keys.WATERMARK_KEY, "v": keys.READABLE + 1}
    await ground.table.put(later)
    report = await replay(ground.table, [line(ground, request_id)])
    assert (report.settled, report.rolled) == (1, 0)
    assert len(report.failed) == 1
    assert report.failed[0].startswith("rollups: USAGE ROLLED has version 2")


async def test_as_cloudwatch_gives_it(ground: Ground) -> None:
    """A line may stand alone, after a log viewer's prefix, or in an event's message."""
    ids = [new_request_id(T) for _ in range(4)]
    lines = [
        f"2026-11-21T06:45:39Z abc {line(ground, ids[0])}\n",
        json.dumps({"timestamp": 1, "message": line(ground, ids[1])}),
        json.dumps(
            {"timestamp": "2026", "level": "INFO", "message": json.loads(line(ground, ids[2]))}
        ),
        line(ground, ids[3]),
        json.dumps({"event": "request", "note": "settlement_unsaved"}),
        "",
    ]
    report = await replay(ground.table, lines)
    assert (report.settled, report.malformed) == (4, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": "short"},
        {"request_id": "z" * 26},
        {"key": "sk-with-its-secret"},
        {"outcome": "unknown"},
        {"completion_tokens": -1},
        {"completion_tokens": 1.5},
        {"prompt_tokens": 10**16},
        {"prompt_price": None},
        {"model": ""},
    ],
    ids=str,
)
async def test_a_malformed_line_is_named_and_writes_nothing(
    ground: Ground, changes: dict[str, Any]
) -> None:
    """A malformed line is named with its number and the reason, and changes nothing."""
    before = ground.bytes()
    bad = json.dumps(json.loads(line(ground, new_request_id(T))) | changes)
    cut = line(ground, new_request_id(T))[:-20]
    report = await replay(ground.table, ["", bad, cut])
    assert [text.partition(":")[0] for text in report.malformed] == ["line 2", "line 3"]
    assert report.settled == 0
    assert ground.bytes() == before


async def test_a_line_that_names_another_key(ground: Ground) -> None:
    """A request is booked on the key that made it, whatever key the line names."""
    other = new_key()
    await ground.table.put(accounts.new_account(other, name="other", now=T - 60, limits=LIMITS))
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    bad = json.dumps(json.loads(line(ground, request_id)) | {"key": key_id_of(other)})
    report = await replay(ground.table, [bad])
    assert (report.settled, report.malformed) == (
        0,
        ["line 1: the ledger has this request with another key"],
    )
    assert (await replay(ground.table, [line(ground, request_id)])).settled == 1
    await prove(ground)


async def test_a_line_of_what_was_taken_for_refused(ground: Ground) -> None:
    """A request that the sweeper settled as refused is booked if it was served after all.

    That happens with fail-open metering.
    """
    request_id = new_request_id(T)
    await ground.table.put(ledger.opening_item(opening(ground, request_id)), condition=ledger.NEW)
    await swept(ground.table)
    assert ground.item(request_id)["outcome"] == "refused"
    assert (await replay(ground.table, [line(ground, request_id)])).corrected == 1
    assert ground.item(request_id)["outcome"] == "complete"
    await prove(ground)


async def test_a_table_that_is_down(ground: Ground) -> None:
    """Requests that cannot be written are named. A repeated replay writes them."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    down = ground.table
    down._name = "nowhere"
    assert (await replay(down, [line(ground, request_id)])).failed == [request_id]
    assert (await replay(ground.table, [line(ground, request_id)])).settled == 1
    await prove(ground)


async def test_an_item_of_a_later_deployment(ground: Ground) -> None:
    """A request whose item this code cannot read is named for another replay, not as malformed."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    item = ground.item(request_id)
    ground.boto.put_item(Item={**item, "v": keys.READABLE + 1})
    report = await replay(ground.table, [line(ground, request_id)])
    assert (report.failed, report.malformed) == ([request_id], [])
    ground.boto.put_item(Item=item)
    assert (await replay(ground.table, [line(ground, request_id)])).settled == 1
    await prove(ground)
