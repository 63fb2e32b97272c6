"""The state of a metric alarm by its data points.

Source: "Configuring how CloudWatch alarms treat missing data" of the CloudWatch user guide: its
tables, and its section on premature transitions. It is unconfirmed how many data points beyond its
evaluation periods an alarm retrieves. In the tables, it retrieves 5 for 3 periods.
"""

from collections.abc import Sequence
from typing import Literal

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
Missing = Literal["breaching", "notBreaching", "ignore", "missing"]
MORE = 2
"""Data points that are retrieved beyond the evaluation periods."""


def state(
    points: Sequence[bool | None], *, periods: int, needed: int, missing: Missing, current: State
) -> State:
    """Return the state of an alarm.

    Args:
        points: Whether each data point in the evaluation range is breaching, oldest first; None
            for a missing one.
        periods: The evaluation periods, N.
        needed: The data points to alarm, M.
        missing: How missing data points are treated.
        current: The state before, which `ignore` retains.

    """
    present = [point for point in points if point is not None]
    if len(present) >= periods:
        return "ALARM" if sum(present[-periods:]) >= needed else "OK"
    breaching = sum(present)
    if missing == "breaching":
        breaching += periods - len(present)
    if breaching >= needed:
        return "ALARM"
    if missing in {"breaching", "notBreaching"} or not all(present):
        return "OK"
    if missing == "ignore":
        return current
    # Only breaching points are left, or none. The alarm rises when the oldest is so old that all
    # that followed could have been breaching.
    first = next((number for number, point in enumerate(points) if point is not None), None)
    return "INSUFFICIENT_DATA" if first is None or len(points) - first < needed else "ALARM"
