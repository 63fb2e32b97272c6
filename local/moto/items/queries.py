"""Patch moto to read no more of a table than a query concerns.

moto sorts all items of the table for each query, and copies what it found.
"""

import copy
from types import SimpleNamespace
from typing import Any

from moto.dynamodb.models import table as tables
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table


def install() -> None:
    """Replace the table's method. It may be called more than once."""
    if Table.query is not _query:
        _QUERY.append(Table.query)
        Table.query = _query
        tables.copy = SimpleNamespace(copy=copy.copy, deepcopy=_copied)


_QUERY: list[Any] = []


def _query(self: Any, hash_key: Any, *args: Any, **named: Any) -> Any:
    """Query as moto does, in a table that has only the items of the query's partition."""
    if hash_key is None:
        return _QUERY[0](self, hash_key, *args, **named)
    index_name = named.get("index_name", args[6] if len(args) > 6 else None)
    try:
        found = _of_partition(self, hash_key, index_name, named)
    except (ArithmeticError, TypeError):  # `N` with a text that is no number
        return _QUERY[0](self, hash_key, *args, **named)
    part = object.__new__(Table)
    part.__dict__ = {**self.__dict__, "items": found}
    return _QUERY[0](part, hash_key, *args, **named)


def _of_partition(
    table: Any, hash_key: Any, index_name: str | None, named: dict[str, Any]
) -> dict[Any, Any]:
    """Return the items of a query's partition, as the table keeps them."""
    if index_name is None:
        return {hash_key: table.items[hash_key]} if hash_key in table.items else {}
    wanted = named.get("hash_key_conditions") or ()
    if not table.range_key_attr:
        return {key: item for key, item in table.items.items() if _has(item, wanted)}
    parts = {
        key: {name: item for name, item in items.items() if _has(item, wanted)}
        for key, items in table.items.items()
    }
    return {key: items for key, items in parts.items() if items}


def _has(item: Any, wanted: Any) -> bool:
    """Return whether an item has all these values."""
    for name, value in wanted:
        held = item.attrs.get(name)
        if held is None or held != value:
            return False
    return True


def _copied(value: Any, memo: Any = None) -> Any:
    """Return a copy, but items that were found as they are.

    They are read once more, into the answer, before another call may change them.
    """
    if type(value) is list and value and all(isinstance(item, Item) for item in value):
        return value
    return copy.deepcopy(value, memo)
