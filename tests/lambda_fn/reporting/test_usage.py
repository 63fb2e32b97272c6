"""Usage from rollups, and from the ledger for open hours."""

import pytest

from lambda_fn.ids import new_request_id
from lambda_fn.metering import hours
from lambda_fn.reporting import rollups
from lambda_fn.reporting.usage import usage
from tests.support.ground import CLOSED, LONGEST, Ground, T, live

HOUR = hours.hour_at(T)


NEXT = hours.following(HOUR)


def never() -> bool:
    """Return that there is always time."""
    return False


async def test_usage_is_rollups_and_the_open_hours(ground: Ground) -> None:
    """Rolled hours come from rollups and later ones from the ledger, for all keys or one."""
    await live(ground.table, ground, new_request_id(T))
    await rollups.advance(ground.table, now=CLOSED, longest=LONGEST, stop=never)
    await live(ground.table, ground, new_request_id(T + 3600))
    for key in (None, ground.key_id):
        rows = await usage(ground.table, since="2026-11-20T00", until="2026-11-22T00", key=key)
        assert [(row.hour, row.requests, row.cost) for row in rows] == [
            (HOUR, 1, 76),
            (NEXT, 1, 76),
        ]
    assert (
        await usage(ground.table, since="2026-11-20T00", until="2026-11-22T00", key="b" * 12) == []
    )
    with pytest.raises(ValueError, match="unconverted"):
        await usage(ground.table, since="2026-11-20T99", until="2026-11-20T00")
