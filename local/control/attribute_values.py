"""DynamoDB's attribute values, passed on as they are.

moto keeps them as the JSON that they came as, and yet has its serializer walk botocore's model for every one of them:
most of the time of a call that returns an item. Binary values still take that way.
"""

from typing import Any

from moto.core.serialize import BaseJSONSerializer


def install() -> None:
    """Let moto's serializer pass attribute values through."""
    walk = BaseJSONSerializer._serialize_type_structure  # noqa: SLF001 (moto's own, pinned)

    def serialize(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict) and _plain(value):
            serialized[key] = value
        else:
            walk(self, serialized, value, shape, key)

    BaseJSONSerializer._serialize_type_structure = serialize  # noqa: SLF001


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
