"""The items that 0.1.0 left in its table, and this code.

`items-0.1.0.json` has the items of a table as 0.1.0 wrote them: a key that was used, hours with
rollups, and requests that its functions left in each state when they were killed.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lambda_fn.ids import key_id_of, new_request_id
from lambda_fn.metering import hours
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.keys import UnknownVersion, account_key
from lambda_fn.reporting.usage import grouped, usage
from tests.support.ground import CLOSED, DONE, LATER, Ground, T, live, prove, swept

FIXTURE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "items-0.1.0.json").read_text(), parse_float=Decimal
)
IDS: dict[str, str] = FIXTURE["ids"]


def restored(ground: Ground) -> Ground:
    """Return the ground with the items of 0.1.0 in place of its own, and their key."""
    for item in ground.items():
        ground.boto.delete_item(Key={name: item[name] for name in ("pk", "sk")})
    for item in FIXTURE["items"]:
        ground.boto.put_item(Item=item)
    ground.key = FIXTURE["key"]
    return ground


async def test_the_key_is_served_and_its_account_read(ground: Ground) -> None:
    """A request of the old key is admitted, settled and booked beside what was booked before."""
    restored(ground)
    before = Account.of(ground.account())
    await live(ground.table, ground, new_request_id(T + 60))
    after = Account.of(ground.account())
    assert after.key_id == key_id_of(FIXTURE["key"])
    assert after.completion_tokens - before.completion_tokens == DONE.completion_tokens
    assert set(before.in_flight) == set(after.in_flight)


async def test_what_was_left_open_is_settled(ground: Ground) -> None:
    """Each request that 0.1.0 left is brought to its end, and all places agree to the token."""
    restored(ground)
    result = await swept(ground.table, now=LATER)
    assert (result.failures, result.finished) == (0, True)
    items = {item["sk"]: item for item in await prove(ground)}
    outcomes = {name: items[request_id]["outcome"] for name, request_id in IDS.items()}
    assert outcomes == {
        "settled0": "complete",
        "settled1": "complete",
        "settled2": "complete",
        "settled-now": "complete",
        "checkpointed": "cut",
        "open": "failed",
        "reserved": "failed",
        "ledger-only": "refused",
        "not-booked": "complete",
    }
    assert items[IDS["checkpointed"]]["completion_tokens"] == 4


async def test_rollups_of_the_release_before_are_reported(ground: Ground) -> None:
    """Usage has the old hours' rows, whose cost is as it was booked."""
    restored(ground)
    await swept(ground.table, now=CLOSED)
    rows = await usage(ground.table, since="2026-11-21T03", until="2026-11-21T08")
    by_hour = {row.hour: row for row in grouped(rows, ("hour",))}
    assert by_hour[hours.hour_at(T - 7200)].requests == 3
    assert sum(row.cost for row in rows) == ground.account()["cost"]


async def test_an_item_of_the_next_release_is_not_read(ground: Ground) -> None:
    """Going back is told: an item with a later version is not taken for an old one."""
    restored(ground)
    item = {**ground.account(), "v": 99}
    ground.boto.put_item(Item=item)
    stored = await ground.table.get(account_key(str(key_id_of(FIXTURE["key"]))))
    assert stored is not None
    with pytest.raises(UnknownVersion, match="Deploy the later code"):
        Account.of(stored)
