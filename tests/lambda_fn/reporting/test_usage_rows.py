"""Rows of usage: grouped, written as items, and summed page by page."""

import asyncio
import tracemalloc
from collections.abc import Mapping
from typing import Any

from lambda_fn.aws.attributes import wrap_all
from lambda_fn.aws.dynamodb import Table
from lambda_fn.ids import new_request_id
from lambda_fn.metering import hours, ledger
from lambda_fn.metering.ledger import Opening
from lambda_fn.reporting.usage_rows import UsageRow, from_item, grouped, ledger_rows, to_item
from tests.support.ground import MODEL, PRICES, T

HOUR = hours.hour_at(T)


def test_rows_group_and_keep_their_sums() -> None:
    """Rows add up to the same, however they are grouped."""
    rows = [
        UsageRow(
            f"2026-11-2{day}T0{hour}",
            key,
            model,
            2,
            3,
            5,
            7,
            1,
            {"complete": 1, "cut": 1},
            open=day,
        )
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


class Pages(Table):
    """A table with `count` pages in each shard, of 300 requests each."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: dict[str, int] = {}
        request_id = new_request_id(T)
        item = ledger.opening_item(Opening(request_id, "abcdefghijkl", MODEL, 100, 400, PRICES))
        counts = {"outcome": "complete", "prompt_tokens": 7, "completion_tokens": 11, "cost": 76}
        self.items = [
            wrap_all({**item, **counts, "state": "SETTLED", "sk": f"{number}"})
            for number in range(300)
        ]

    async def _call(
        self, operation: str, call: Mapping[str, Any], *_given: Any, **_named: Any
    ) -> dict[str, Any]:
        shard = call["ExpressionAttributeValues"][":pk"]["S"]
        page = self.read[shard] = self.read.get(shard, 0) + 1
        await asyncio.sleep(0)
        names = {
            call["ExpressionAttributeNames"][name]
            for name in call["ProjectionExpression"].split(", ")
        }
        items = [{name: {**item[name]} for name in names & item.keys()} for item in self.items]
        return {
            "Items": items,
            **({"LastEvaluatedKey": wrap_all({"pk": shard})} if page < self.count else {}),
        }


async def test_an_hour_is_summed_page_by_page() -> None:
    """Six times the requests take no more memory. Only the summed attributes are read."""
    peaks = []
    for pages in (2, 12):
        tracemalloc.start()
        [row] = await ledger_rows(Pages(pages), HOUR)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (row.requests, row.cost) == (8 * pages * 300, 8 * pages * 300 * 76)
    assert peaks[1] < 1.2 * peaks[0]
