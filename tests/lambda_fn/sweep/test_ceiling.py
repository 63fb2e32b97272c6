"""The deployment's ceiling: the month's sum, its alerts, and when requests are refused."""

import pytest

from lambda_fn.ids import new_request_id
from lambda_fn.metering import hours, service_state
from lambda_fn.metering.keys import ALERT_PARTITION, month_key
from lambda_fn.reporting.rollups import advance, roll
from lambda_fn.sweep import ceiling
from tests.support.ground import CLOSED, DONE, LONGEST, PRICES, Ground, Killed, T, live, never

COST = PRICES.cost(DONE.tokens)


async def watch(ground: Ground, *, limit: int, now: float = T + 60, remade: bool = False) -> int:
    """Watch a ceiling. Return the month's sum."""
    spent = await ceiling.watch(ground.table, ceiling=limit, now=now, remade=remade, stop=never)
    assert spent is not None
    return spent


async def exhausted(ground: Ground) -> str | None:
    """Return the month whose requests are refused."""
    found: str | None = (await service_state.state(ground.table)).get("exhausted")
    return found


async def test_the_month_is_summed_to_the_nano_dollar(ground: Ground) -> None:
    """Closed hours come from rollups, open ones from the ledger, and the sum is the ledger's."""
    for place in range(3):
        await live(ground.table, ground, new_request_id(T + place))
    assert await watch(ground, limit=10**9) == 3 * COST
    assert await advance(ground.table, now=CLOSED, longest=LONGEST, stop=never) > 0
    later = hours.begins("2026-11-21T09")
    assert await watch(ground, limit=10**9, now=later) == 3 * COST
    stored = await ground.table.get(month_key("2026-11"))
    assert stored is not None
    assert stored["cost"] == 3 * COST
    assert await watch(ground, limit=10**9, now=later) == 3 * COST
    assert await watch(ground, limit=10**9, now=hours.begins("2026-12-01T00")) == 0


async def test_a_changed_hour_is_summed_again(ground: Ground) -> None:
    """After rollups were made again, the stored sum is not used."""
    await live(ground.table, ground, new_request_id(T))
    await advance(ground.table, now=CLOSED, longest=LONGEST, stop=never)
    later = hours.begins("2026-11-21T09")
    await watch(ground, limit=10**9, now=later)
    await live(ground.table, ground, new_request_id(T + 1))
    await roll(ground.table, hours.hour_at(T))
    assert await watch(ground, limit=10**9, now=later, remade=True) == 2 * COST


BORDER = hours.begins("2026-12-01T00")


def alerts(ground: Ground) -> list[str]:
    """Return the month and the level of each alert."""
    return sorted(" ".join(item["sk"].split("#")[::3]) for item in ground.items(ALERT_PARTITION))


async def roll_until(ground: Ground, hour: str) -> None:
    """Make the rollups of the hours before `hour`."""
    now = hours.begins(hour) + LONGEST
    assert await advance(ground.table, now=now, longest=LONGEST, stop=never) > 0


async def test_a_month_is_watched_until_its_sum_is_final(ground: Ground) -> None:
    """A request of its last minutes counts in it, and refuses nothing in the next month."""
    await watch(ground, limit=2 * COST, now=BORDER - 240)
    await live(ground.table, ground, new_request_id(BORDER - 120))
    assert await watch(ground, limit=2 * COST, now=BORDER + 60) == 0
    assert alerts(ground) == ["2026-11 50"]
    await live(ground.table, ground, new_request_id(BORDER - 60))  # it is settled late
    await roll_until(ground, "2026-12-01T00")
    assert await watch(ground, limit=2 * COST, now=BORDER + 900) == 0
    assert alerts(ground) == ["2026-11 100", "2026-11 50", "2026-11 80"]
    assert await exhausted(ground) is None


async def test_a_final_sum_costs_one_read(ground: Ground) -> None:
    """It is summed again only after rollups were made again."""
    await watch(ground, limit=COST, now=BORDER - 240)
    await roll_until(ground, "2026-12-01T00")
    await watch(ground, limit=COST, now=BORDER + 900)
    final = await ground.table.get(month_key("2026-11"))
    assert final is not None
    assert (final["until"], final["cost"]) == ("2026-12-01T00", 0)
    await live(ground.table, ground, new_request_id(BORDER - 60))
    await roll(ground.table, "2026-11-30T23")

    with_month, without = ground.mortal(-1), ground.mortal(-1)
    await ceiling.watch(with_month, ceiling=COST, now=BORDER + 900, remade=False, stop=never)
    ground.boto.delete_item(Key=month_key("2026-11"))
    await ceiling.watch(without, ceiling=COST, now=BORDER + 900, remade=False, stop=never)
    assert with_month.calls == without.calls
    assert alerts(ground) == []

    await ground.table.put(final)
    await watch(ground, limit=COST, now=BORDER + 900, remade=True)
    assert alerts(ground) == ["2026-11 100", "2026-11 50", "2026-11 80"]


async def test_a_sweep_that_is_killed_at_the_border_loses_no_alert(ground: Ground) -> None:
    """The sum is not stored as final before its alerts are written."""
    await watch(ground, limit=COST, now=BORDER - 240)
    await live(ground.table, ground, new_request_id(BORDER - 120))
    await roll_until(ground, "2026-12-01T00")
    killed = 0
    while len(alerts(ground)) < 3:
        with pytest.raises(Killed):
            await ceiling.watch(
                ground.mortal(killed), ceiling=COST, now=BORDER + 900, remade=False, stop=never
            )
        killed += 1
    assert killed > 3


async def test_a_month_without_a_ceiling_gets_no_alert(ground: Ground) -> None:
    """A ceiling that is set in December says nothing about November."""
    await live(ground.table, ground, new_request_id(BORDER - 120))
    await watch(ground, limit=COST, now=BORDER + 60)
    assert alerts(ground) == []


async def test_requests_are_refused_from_the_ceiling_on(ground: Ground) -> None:
    """They are refused when all is spent, and served once the ceiling is raised or removed."""
    await live(ground.table, ground, new_request_id(T))
    await watch(ground, limit=COST + 1)
    assert await exhausted(ground) is None
    await watch(ground, limit=COST)
    assert await exhausted(ground) == "2026-11"
    await watch(ground, limit=10 * COST)
    assert await exhausted(ground) is None
    await watch(ground, limit=COST)
    await ceiling.lift(ground.table)
    assert await exhausted(ground) is None
    levels = [item["sk"].split("#")[3] for item in ground.items(ALERT_PARTITION)]
    assert levels.count("100") == 1
    assert {"50", "80", "100"} == set(levels)


async def test_an_operators_stop_stays(ground: Ground) -> None:
    """The two reasons to refuse requests do not undo each other."""
    await service_state.stop(ground.table, reason="A test.", now=7)
    await service_state.exhaust(ground.table, "2026-11")
    await service_state.exhaust(ground.table, None)
    assert (await service_state.state(ground.table))["reason"] == "A test."
    await service_state.exhaust(ground.table, "2026-11")
    await service_state.resume(ground.table)
    assert await exhausted(ground) == "2026-11"


@pytest.mark.parametrize("limit", [1, 10**12])
async def test_without_time_nothing_changes(ground: Ground, limit: int) -> None:
    """A sweep whose time is over decides nothing from a part of the sum."""
    await live(ground.table, ground, new_request_id(T))
    stopped = await ceiling.watch(
        ground.table, ceiling=limit, now=T + 60, remade=False, stop=lambda: True
    )
    assert stopped is None
    assert await exhausted(ground) is None
