"""From which load on something costs less."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cli.commands.cost import bill, turns
from cli.commands.cost.bill import Plan, Use
from cli.commands.cost.turns import Turn
from infra.settings.deployment import PROD

PLAN = Plan.of(PROD.replace(instance_type="ml.g6.xlarge", instance_count=2), None)


def turn(saved: float, cost_of: Callable[[int], float], each: float) -> Turn | None:
    """Return the turn of at most 50 instances that hold a number of requests each."""
    return turns.turn(saved, cost_of, lambda count: count * each, range(1, 51))


def test_one_price_for_all() -> None:
    """Without steps there is one turn."""
    assert turn(0.5, lambda _: 100.0, 1e6) == Turn(200, 200)
    assert turn(0.0, lambda _: 100.0, 1e6) is None
    assert turn(-1.0, float, 1e6) is None


def test_instances_are_paid_whole() -> None:
    """One for 60 holds 100 requests: it costs less from 60 on, two from 120 on, all others."""
    assert turn(1.0, lambda count: count * 60.0, 100.0) == Turn(60, 120)
    assert turn(1.0, lambda count: count * 60.0 + 50, 100.0) == Turn(170, 230)
    assert turn(1.0, lambda count: count * 150.0, 100.0) is None
    assert turn(1.0, lambda count: 60.0 if count < 3 else count * 150.0, 100.0) == Turn(60, None)


@pytest.mark.parametrize("peak", [1.0, 4.0, 5.0, 6.0])
def test_managed_instances_by_the_months(peak: float) -> None:
    """Below the first number each month costs more, from the last on none does."""
    use = Use(peak=peak)
    found = turns.managed_turn(PLAN, use)
    assert found is not None
    assert found.always is not None

    def cheaper(requests: float) -> bool:
        at = replace(use, requests=requests)
        bills = [sum(bill.month(PLAN, at, managed=managed).values()) for managed in (True, False)]
        return bills[0] < bills[1]

    steps = [part / 200 for part in range(1, 200)]
    assert not any(cheaper(found.first * part) for part in steps)
    assert cheaper(found.first * 1.0001)
    assert all(cheaper(found.always * (1 + 10 * part)) for part in steps)
    assert found.first == found.always or not cheaper(found.always * 0.9999)


def test_tokens_are_compared_with_as_many_instances_as_they_need() -> None:
    """What the plan's instances cannot hold needs more of them, which cost more."""
    use = Use(throughput=1500, peak=3)
    assert turns.token_turn(PLAN, use, (0.22, 0.22)) is None
    found = turns.token_turn(PLAN, use, (3.0, 15.0))
    assert found is not None
    assert found.first == found.always
    assert found.first < turns.held(PLAN, use, 2)
    at = replace(use, requests=found.first * 1.0001)
    assert sum(bill.month(PLAN, at).values()) < (at.requests or 0) * bill.token_price(at, 3, 15)
    assert turns.needed(PLAN, use, found.first) == 1


TIMES = ("cron(0 7 ? * MON-FRI *) 6-8", "cron(0 20 ? * * *) 1-2")


@pytest.mark.parametrize(
    ("settings", "running"),
    [
        ({"instance_count": 1}, None),
        ({"instance_count": 5}, None),
        ({"instance_count": 1, "max_instances": 8, "schedule": TIMES}, None),
        ({"instance_count": 2, "max_instances": 8}, 6.0),
        ({"instance_count": 10, "max_instances": 10, "scale_to_zero": True}, 0.1),
    ],
)
@pytest.mark.parametrize("compare", [(0.5, 1.5), (0.9, 2.0), (0.55, 0.55), (3.0, 15.0)])
def test_tokens_by_all_loads(
    settings: dict[str, Any], running: float | None, compare: tuple[float, float]
) -> None:
    """Below the first number every load costs more, from the last on none does."""
    plan = Plan.of(PROD.replace(instance_type="ml.g6.xlarge", **settings), None, running)
    use = Use(throughput=400)
    found = turns.token_turn(plan, use, compare)
    unit = plan.instance_hour * 730

    def cheaper(requests: float) -> bool:
        at = replace(use, requests=requests)
        more = turns.paid(plan, turns.needed(plan, use, requests)) - plan.running
        cost = sum(bill.month(plan, at).values()) + more * unit
        return cost < requests * bill.token_price(use, *compare)

    most = turns.held(plan, use, turns.MOST_INSTANCES)
    loads = [most * part / 3000 for part in range(1, 3000)]
    if found is None:
        assert not any(map(cheaper, loads))
        return
    assert not any(cheaper(load) for load in loads if load < found.first * 0.999)
    assert cheaper(found.first * 1.0001)
    if found.always is None:
        assert not all(cheaper(load) for load in loads if load > most * 0.98)
    else:
        assert all(cheaper(load) for load in loads if load > found.always * 1.001)


def test_what_instances_hold() -> None:
    """The slots hold the streams of the busiest hour, and the throughput its tokens."""
    slots = turns.held(PLAN, Use(), 2)
    at = Use(requests=slots)
    assert bill.most(bill.streams_at_once(at) * 0.9999) == 32
    slow = Use(throughput=10)
    tokens = turns.held(PLAN, slow, 2)
    assert bill.tokens_a_second(replace(slow, requests=tokens)) * 4 == pytest.approx(20)
