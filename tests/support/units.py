"""The units that reads and writes cost, by DynamoDB's published rules.

moto reports the same figure for any item. A write unit is 1 kB of the larger of the item before and
after, rounded up. A write to an index costs units of its own. Sources: "DynamoDB read and write
operations" and "Item sizes and formats", DynamoDB Developer Guide.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

INDEXES = {"overdue": ("open", "due"), "keys": ("directory", "created")}
"""The table's indexes, keys only: an item is in one when it has both attributes."""


def size(value: Any) -> int:
    """Return the size of a value in bytes."""
    match value:
        case bool() | None:
            return 1
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case int() | float() | Decimal():
            digits = str(value).replace("-", "").replace(".", "").strip("0")
            return math.ceil(len(digits) / 2) + 1
        case Mapping():
            return 3 + sum(1 + len(name.encode()) + size(member) for name, member in value.items())
        case list():
            return 3 + sum(1 + size(member) for member in value)
    raise TypeError(type(value).__name__)


def item_size(item: Mapping[str, Any]) -> int:
    """Return the size of an item in bytes."""
    return sum(len(name.encode()) + size(value) for name, value in item.items())


def read_units(item: Mapping[str, Any] | None) -> int:
    """Return the units of a consistent read: one for each 4 kB, rounded up, and at least one."""
    return max(1, math.ceil(item_size(item or {}) / 4096))


def write_units(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> tuple[int, int]:
    """Return the units of a write to the table and to its indexes."""
    table = math.ceil(max(item_size(before or {}), item_size(after or {})) / 1024)
    indexes = 0
    for names in INDEXES.values():
        was, is_ = (
            tuple(item[name] for name in names)
            if item and all(name in item for name in names)
            else None
            for item in (before, after)
        )
        if was != is_:  # a changed key removes an index entry and adds one
            indexes += (was is not None) + (is_ is not None)
    return max(1, table), indexes
