"""Marks of dirty hours."""

from lambda_fn.metering import hours
from lambda_fn.metering.dirty_hours import clear_mark, dirty_hours, mark_dirty
from tests.support.ground import Ground, T

HOUR = hours.hour_at(T)


async def test_a_mark_that_was_renewed_stays(ground: Ground) -> None:
    """An hour that changes again while it is rolled stays dirty."""
    await mark_dirty(ground.table, HOUR)
    [(hour, token)] = await dirty_hours(ground.table)
    await mark_dirty(ground.table, HOUR)
    assert not await clear_mark(ground.table, hour, token)
    assert len(await dirty_hours(ground.table)) == 1
