"""From which load on one way to pay costs less than another.

Instances are paid whole, so their cost grows in steps: beyond a load at which they first cost less,
there may be loads at which they cost more again. Both loads are computed.
"""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cli.commands.cost import bill
from cli.commands.cost.bill import Plan, Use

MOST_INSTANCES = 100
"""Instances that the settings allow."""
_MOST_OF_A_FLEET = 10_000
"""Managed Instances up to which loads are compared. Beyond them, all parts grow evenly."""


@dataclass(frozen=True)
class Turn:
    """The loads, in requests a month, at which one way to pay begins to cost less than another."""

    first: float
    """The smallest load at which it costs less."""
    always: float | None
    """The smallest load from which on it always costs less; None: there is no such load."""


def turn(
    saved: float,
    cost_of: Callable[[int], float],
    holds: Callable[[int], float],
    counts: range,
) -> Turn | None:
    """Return the loads from which on instances cost less than what requests save.

    Args:
        saved: USD that each request saves.
        cost_of: Returns USD a month beside the requests, with a number of instances.
        holds: Returns how many requests a month a number of instances holds.
        counts: The numbers of instances that there may be.

    Returns:
        None if they cost less at no load.

    """
    if saved <= 0:
        return None
    first = failed = None
    before = 0.0  # what one instance less holds
    for count in counts:
        cost, held = cost_of(count) / saved, holds(count)  # in requests
        if first is None and cost < held:
            first = max(cost, before)
        if cost >= before:  # it costs more, at least at the beginning of what these hold
            failed = count, min(cost, held)
        before = held
    if first is None:
        return None
    if failed is None:
        return Turn(first, first)
    return Turn(first, None if failed[0] == counts[-1] > counts[0] else failed[1])


def managed_turn(plan: Plan, use: Use) -> Turn | None:
    """Return the loads from which on Managed Instances cost less than the function on demand."""
    parts = [bill.by_request(plan, use, managed=managed) for managed in (False, True)]
    unit = bill.fleet_hour(plan) * bill.HOURS
    return turn(
        sum(parts[0].values()) - sum(parts[1].values()),
        lambda count: count * unit,
        lambda count: held_streams(use, count * use.streams_per_vcpu * bill.FLEET_VCPUS),
        range(bill.FLEET, _MOST_OF_A_FLEET),
    )


def token_turn(plan: Plan, use: Use, compare: tuple[float, float]) -> Turn | None:
    """Return the loads from which on a deployment costs less than another service's tokens.

    It has the plan's instances, and from the load on that they do not hold as many as the busiest
    hour needs, at most `MOST_INSTANCES`.
    """
    saved = bill.token_price(use, *compare) - sum(bill.by_request(plan, use).values())
    parts = bill.by_month(plan, called=True)
    rest = sum(parts.values()) - parts.get("SageMaker, instances", 0.0)
    unit = plan.instance_hour * bill.HOURS
    return turn(
        saved,
        lambda count: rest + paid(plan, count) * unit,
        lambda count: held(plan, use, count),
        range(plan.instances, max(plan.instances, MOST_INSTANCES) + 1),
    )


def paid(plan: Plan, needed: int) -> float:
    """Return how many instances are paid for if the busiest hour needs so many."""
    return plan.running if needed <= plan.instances else max(plan.running, needed)


def needed(plan: Plan, use: Use, requests: float) -> int:
    """Return how many instances the busiest hour of so many requests a month needs."""
    counts = range(1, max(plan.instances, MOST_INSTANCES) + 1)
    return 1 + bisect.bisect_left(counts, requests * (1 - 1e-9), key=partial(held, plan, use))


def held(plan: Plan, use: Use, instances: int) -> float:
    """Return how many requests a month instances hold, by their slots and by their throughput."""
    found = held_streams(use, instances * plan.parallel)
    if use.throughput is not None:
        tokens = instances * use.throughput * bill.SECONDS
        found = min(found, tokens / use.peak / use.completion_tokens)
    return found


def held_streams(use: Use, streams: int) -> float:
    """Return the requests a month of which the busiest hour has at most so many streams at once."""
    root = (math.sqrt(bill.SPREAD**2 + 4 * streams) - bill.SPREAD) / 2
    return root**2 * bill.SECONDS / use.peak / use.seconds
