"""What makes moto's DynamoDB slow without need.

It keeps attribute values as the JSON that they came as, and yet has its serializer walk botocore's model for every one
of them: most of the time of a call that returns an item. Binary values still take that way. And it parses each update
expression anew, though the placeholders make the text the same.
"""

from functools import lru_cache
from typing import Any

from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb.parsing.expressions import UpdateExpressionParser


def install() -> None:
    """Let moto's serializer pass attribute values through, and keep what was parsed: validation works on copies."""
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
    """Whether a value holds no binary data."""
    for kind, content in value.items():
        if kind in ("B", "BS"):
            return False
        if kind == "M" and not all(_plain(member) for member in content.values()):
            return False
        if kind == "L" and not all(_plain(member) for member in content):
            return False
    return True
