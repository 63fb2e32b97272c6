"""Patch what moto does with each attribute value: compare, measure, hash, project and serialize.

Most values are text, numbers or bytes. All others take moto's way.
"""

from base64 import b64decode
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import DYNAMODB_CONTEXT
from moto.dynamodb import responses
from moto.dynamodb.exceptions import ItemSizeTooLarge
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.utilities import dynamo_to_dict

_CAST = DynamoType.cast_value.fget
_SIZE = DynamoType.size
_PROJECT = Item.project
# As in moto.
_LARGEST = 405_000
_SCALARS = {"S", "N", "BOOL", "NULL"}


def install() -> None:
    """Replace methods. It may be called more than once."""
    DynamoType.cast_value = property(_cast)
    DynamoType.__eq__ = _equal
    DynamoType.__hash__ = _hash
    DynamoType.size = _size
    Item.__init__ = _make_item
    Item.project = _projected
    responses.dynamo_to_dict = plain


def _cast(self: Any) -> Any:
    kind = self.type
    if kind in {"S", "B"}:
        return self.value
    if kind == "N":
        return Decimal(self.value)
    return _CAST(self)


def _equal(self: Any, other: Any) -> bool:
    kind = self.type
    if kind != other.type:
        return False
    if kind == "S":
        return bool(self.value == other.value)
    return bool(self.cast_value == other.cast_value)


def _hash(self: Any) -> int:
    return hash((self.type, _cast(self)))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _size(self: Any) -> int:
    kind, value = self.type, self.value
    if kind in {"S", "N"} and type(value) is str:
        return _bytes(value) if kind == "S" else len(value)
    if type(value) is bytes:
        return len(value)
    measured: int = _SIZE(self)
    return measured


def _make_item(self: Any, hash_key: Any, range_key: Any, attrs: dict[str, Any]) -> None:
    """Make an item. moto measures all of it again for each attribute."""
    self.hash_key, self.range_key = hash_key, range_key
    self.attrs = LimitedSizeDict()
    measured = 0
    for name, value in attrs.items():
        held = DynamoType(value)
        measured += _bytes(name) + held.size()
        if measured > _LARGEST:
            raise ItemSizeTooLarge
        dict.__setitem__(self.attrs, name, held)


def _projected(self: Any, expressions: list[list[str]]) -> Any:
    """Return an item with some of the attributes. moto converts all to Python's types and back."""
    attrs: dict[str, Any] = {}
    for names in expressions:
        if len(names) > 1 or "[" in names[0]:
            return _PROJECT(self, expressions)
        held = self.attrs.get(names[0])
        if held is None:
            continue
        if held.type not in _SCALARS:
            return _PROJECT(self, expressions)
        value = held.value
        if held.type == "N":
            value = str(DYNAMODB_CONTEXT.create_decimal(value))
        attrs[names[0]] = {held.type: value}
    return Item(self.hash_key, self.range_key, attrs)


def plain(held: Any) -> Any:
    """Return what is held as types and contents, with binary content as bytes."""
    kind = type(held)
    if kind is DynamoType:
        name, value = held.type, held.value
        if name in _SCALARS:
            return {name: value}
        if name == "B":
            return {"B": value if type(value) is bytes else b64decode(value)}
        if name == "M":
            return {"M": {key: plain(item) for key, item in value.items()}}
        if name == "L":
            return {"L": [plain(item) for item in value]}
        return dynamo_to_dict(held)
    if kind is dict or kind is LimitedSizeDict:
        return {key: plain(item) for key, item in held.items()}
    if kind is list:
        return [plain(item) for item in held]
    if kind is str:
        return held
    return dynamo_to_dict(held)
