"""From which load on one way to pay costs less than another.

Instances are paid whole, so their cost grows in steps: beyond a load at which they first cost less,
there may be loads at which they cost more again. Both loads are computed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from cli.commands.cost import bill
from cli.commands.cost.bill import Plan, Use

_MOST_REQUESTS = 1e12


@dataclass(frozen=True)
class Turn:
    """Requests a month."""

    first: float
    """The fewest at which it costs less."""
    always: float | None
    """The fewest from which on it costs less at every number; None: there is no such number."""


def turn(
    saved: float, fixed: float, unit: float, holds: Callable[[int], float], least: int
) -> Turn | None:
    """Return from when on `fixed` and the instances cost less than what requests save.

    Args:
        saved: USD that each request saves.
        fixed: USD a month beside the instances.
        unit: USD a month of one instance.
        holds: Returns how many requests a month a number of instances holds, such that
            `holds(n) / n` never falls.
        least: The fewest instances.

    Returns:
        None if it never costs less.

    """
    if saved <= 0:
        return None

    def cost(count: int) -> float:
        return (fixed + count * unit) / saved  # in requests

    first = _least(lambda count: cost(count) < holds(count), holds, least)
    if first is None:
        return None
    begin = cost(first) if first == least else max(cost(first), holds(first - 1))
    stays = _least(lambda count: cost(count) < holds(count - 1), holds, least + 1)
    return Turn(begin, None if stays is None else cost(stays - 1))


def _least(
    is_so: Callable[[int], bool], holds: Callable[[int], float], least: int
) -> int | None:  # fmt: skip
    """Return the least count for which something is so, which is so for each one above it."""
    step = 1
    while not is_so(least + step - 1):
        if holds(least + step - 1) > _MOST_REQUESTS:
            return None
        step *= 2
    low, high = least, least + step - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_so(middle) else (middle + 1, high)
    return low


def managed_turn(plan: Plan, use: Use) -> Turn | None:
    """Return from when on Managed Instances cost less than the function on demand."""
    parts = [bill.by_request(plan, use, managed=managed) for managed in (False, True)]
    saved = sum(parts[0].values()) - sum(parts[1].values())
    return turn(
        saved,
        0.0,
        bill.fleet_hour(plan) * bill.HOURS,
        lambda count: held_streams(use, count * use.streams_per_vcpu * bill.FLEET_VCPUS),
        bill.FLEET,
    )


def token_turn(plan: Plan, use: Use, compare: tuple[float, float]) -> Turn | None:
    """Return from when on a deployment costs less than another service's prices of tokens.

    It has as many instances as the busiest hour needs, and at least those of the plan.
    """
    saved = bill.token_price(use, *compare) - sum(bill.by_request(plan, use).values())
    unit = plan.instance_hour * bill.HOURS
    always = replace(use, requests=1.0)
    fixed = sum(bill.month(plan, always).values()) - sum(bill.by_request(plan, use).values())
    return turn(
        saved,
        fixed - plan.instances * unit,
        unit,
        lambda count: held(plan, use, count),
        plan.instances,
    )


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
