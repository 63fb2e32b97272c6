"""The rollup watermark."""

from lambda_fn.metering import hours
from lambda_fn.reporting.rollup_progress import advance_watermark, begin, first_hour, rolled_range
from tests.support.ground import Ground, T

HOUR = hours.hour_at(T - 60)
NEXT = hours.following(HOUR)


async def test_it_begins_at_the_oldest_key_and_moves_forward(ground: Ground) -> None:
    """The watermark is created once, and moves only from where it is. A repeated move succeeds."""
    assert await rolled_range(ground.table) is None
    assert await first_hour(ground.table, now=T + 86_400) == HOUR
    for _ in range(2):
        assert await begin(ground.table, now=T) == (HOUR, HOUR)
    for _ in range(2):
        assert await advance_watermark(ground.table, HOUR, NEXT)
    assert not await advance_watermark(ground.table, HOUR, hours.following(NEXT))
    assert await begin(ground.table, now=T) == await rolled_range(ground.table) == (HOUR, NEXT)
