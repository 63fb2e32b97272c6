"""From which load on something costs less."""

from dataclasses import replace

import pytest

from cli.commands.cost import bill, turns
from cli.commands.cost.bill import Plan, Use
from cli.commands.cost.turns import Turn
from infra.settings.deployment import PROD

PLAN = Plan.of(PROD.replace(instance_type="ml.g6.xlarge", instance_count=2), None)


def test_one_price_for_all() -> None:
    """Without steps there is one turn."""
    assert turns.turn(0.5, 100.0, 0.0, lambda count: count * 1e6, 1) == Turn(200, 200)
    assert turns.turn(0.0, 100.0, 0.0, lambda count: count * 1e6, 1) is None
    assert turns.turn(-1.0, 0.0, 1.0, lambda count: count * 1e6, 1) is None


def test_instances_are_paid_whole() -> None:
    """One for 60 holds 100 requests: it costs less from 60 on, two from 120 on, all others."""
    found = turns.turn(1.0, 0.0, 60.0, lambda count: count * 100.0, 1)
    assert found == Turn(60, 120)
    assert turns.turn(1.0, 50.0, 60.0, lambda count: count * 100.0, 1) == Turn(170, 230)
    assert turns.turn(1.0, 0.0, 150.0, lambda count: count * 100.0, 1) is None


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
    dear = turns.token_turn(PLAN, use, (0.4, 0.4))
    assert dear is None or dear.first > turns.held(PLAN, use, 2)


def test_what_instances_hold() -> None:
    """The slots hold the streams of the busiest hour, and the throughput its tokens."""
    slots = turns.held(PLAN, Use(), 2)
    at = Use(requests=slots)
    assert bill.most(bill.streams_at_once(at) * 0.9999) == 32
    slow = Use(throughput=10)
    tokens = turns.held(PLAN, slow, 2)
    assert bill.tokens_a_second(replace(slow, requests=tokens)) * 4 == pytest.approx(20)
