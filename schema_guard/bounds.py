"""Checks the bounds in a schema: each by itself, and each minimum against its maximum."""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from schema_guard import limits
from schema_guard.errors import shown
from schema_guard.limits import Limit

COUNTS: dict[str, Limit] = {
    "minItems": limits.ITEMS,
    "maxItems": limits.ITEMS,
    "minContains": limits.ITEMS,
    "maxContains": limits.ITEMS,
    "minLength": limits.MIN_LENGTH,
    "maxLength": limits.MAX_LENGTH,
    "minProperties": limits.MEMBERS,
    "maxProperties": limits.MEMBERS,
}
NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_PAIRS = (
    ("minItems", "maxItems"),
    ("minLength", "maxLength"),
    ("minProperties", "maxProperties"),
    ("minContains", "maxContains"),
    ("minimum", "maximum"),
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
)
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
"""llama.cpp has integers of 64 bits. It reads these two as no bound at all."""

Bounds = dict[str, int | float]
Fault = tuple[str, str]
"""The name of the wrong member, and why."""


def count_fault(name: str, value: object, *, lenient: bool) -> str | None:
    """Return why a member of `COUNTS` may not have this value; None if it may.

    With `lenient`, a maximum over the limit is accepted, but it does not guide the answer.
    """
    most = COUNTS[name].most
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return f"must be a whole number from 0 to {most:,}, not {shown(value)}"
    if value <= most or (lenient and name.startswith("max") and value <= _LARGEST):
        return None
    return f"must be at most {most:,}: leave it out, or ask for less"


def number_fault(value: object) -> str | None:
    """Return why a member of `NUMBERS` may not have this value; None if it may."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"must be a number, not {shown(value)}"
    return out_of_range(value)


def multiple_fault(value: object) -> str | None:
    """Return why `multipleOf` may not have this value; None if it may."""
    if (fault := number_fault(value)) is not None:
        return fault
    _, digits, exponent = Decimal(str(value)).as_tuple()
    most = limits.MULTIPLE.most
    if not Decimal(str(value)) > 0:
        return f"must be over 0, not {shown(value)}"
    if (
        not isinstance(exponent, int)
        or not -10 <= exponent <= 0
        or int("".join(map(str, digits))) > most
    ):
        return (
            f"must have a value of at most {most:,} without its decimal point, as 25 or 0.01: "
            "leave it out"
        )
    return None


def out_of_range(value: Any) -> str | None:
    """Return why a number cannot be passed on to an engine; None if it can."""
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be finite"
    return None if _SMALLEST <= value <= _LARGEST else "must fit into 64 bits"


def merge(all_bounds: Iterable[Mapping[str, int | float]]) -> Bounds:
    """Return the strictest bounds: those of a value that must satisfy all of `all_bounds`."""
    merged: Bounds = {}
    for bounds in all_bounds:
        for name, value in bounds.items():
            known = merged.get(name, value)
            merged[name] = (
                max(known, value) if name.startswith(("min", "exclusiveMin")) else min(known, value)
            )
    return merged


def pair_fault(bounds: Mapping[str, int | float]) -> Fault | None:
    """Return the first minimum that exceeds its maximum, and why; None if there is none."""
    for low, high in _PAIRS:
        if low not in bounds or high not in bounds:
            continue
        least, most = bounds[low], bounds[high]
        strict = "exclusive" in low + high
        if least > most or (strict and least == most):
            over = "not below" if strict else "over"
            return (
                low,
                f"{shown(least)} is {over} '{high}', which is {shown(most)}: no value fits both",
            )
    return None


def integer_fault(bounds: Mapping[str, int | float], *, lenient: bool) -> Fault | None:
    """Return the wrong bound of an integer, and why; None if all are right.

    A bound is wrong if it does not fit into 64 bits, if it leaves no value, or if llama.cpp cannot
    convert it. With `lenient`, the last is not checked.
    """
    low_name = "minimum" if "minimum" in bounds else "exclusiveMinimum"
    high_name = "maximum" if "maximum" in bounds else "exclusiveMaximum"
    for name in (low_name, high_name):
        if not _SMALLEST <= bounds.get(name, 0) <= _LARGEST:
            return name, "must fit into 64 bits"
    low = _least(bounds)
    high = _most(bounds)
    if low is not None and high is not None and low > high:
        return low_name, f"leaves no integer below '{high_name}': widen one of them"
    if lenient:
        return None
    most = limits.INTEGER.most
    if low is not None and low > most and high is None:
        return (
            low_name,
            f"must be at most {most:,} where there is no maximum below 2^63 - 1: add one",
        )
    if high is not None and high < -most and low is None:
        return (
            high_name,
            f"must be at least -{most:,} where there is no minimum over -2^63: add one",
        )
    return None


def _least(bounds: Mapping[str, int | float]) -> int | None:
    found = [math.ceil(bounds["minimum"])] if "minimum" in bounds else []
    if "exclusiveMinimum" in bounds:
        found.append(math.floor(bounds["exclusiveMinimum"]) + 1)
    low = max(found, default=_SMALLEST)
    return None if low <= _SMALLEST else low


def _most(bounds: Mapping[str, int | float]) -> int | None:
    found = [math.floor(bounds["maximum"])] if "maximum" in bounds else []
    if "exclusiveMaximum" in bounds:
        found.append(math.ceil(bounds["exclusiveMaximum"]) - 1)
    high = min(found, default=_LARGEST)
    return None if high >= _LARGEST else high
