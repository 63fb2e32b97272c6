"""Patch moto to skip redundant work on DynamoDB's attribute values.

moto stores attribute values as the JSON in which they arrived. Its serializer nevertheless walks
botocore's model for each value, which is most of the time of a call that returns an item. Only
binary values need this. moto also parses each update expression, though most have the same text as
an earlier one, because their values are placeholders.
"""

from functools import lru_cache
from typing import Any

from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb.parsing.expressions import UpdateExpressionParser


def install() -> None:
    """Pass attribute values through moto's serializer, and cache parsed expressions.

    moto validates copies of a parsed expression, so the cached one does not change.
    """
    if BaseJSONSerializer._serialize_type_structure.__name__ == "pass_through":  # noqa: SLF001 (moto's own, pinned)
        return
    UpdateExpressionParser.make = lru_cache(maxsize=1024)(UpdateExpressionParser.make)
    walk = BaseJSONSerializer._serialize_type_structure  # noqa: SLF001 (moto's own, pinned)

    def pass_through(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict) and _plain(value):
            serialized[key] = value
        else:
            walk(self, serialized, value, shape, key)

    BaseJSONSerializer._serialize_type_structure = pass_through  # noqa: SLF001


def _plain(value: dict[str, Any]) -> bool:
    """Return whether a value holds no binary data."""
    for kind, content in value.items():
        if kind in ("B", "BS"):
            return False
        if kind == "M" and not all(_plain(member) for member in content.values()):
            return False
        if kind == "L" and not all(_plain(member) for member in content):
            return False
    return True
