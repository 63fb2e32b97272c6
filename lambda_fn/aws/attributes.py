"""Converts plain Python values to DynamoDB's typed attributes, and back.

    str  S    int, float  N    bool  BOOL    None  NULL    list  L    dict  M    bytes  B

Whole numbers, of up to DynamoDB's 38 digits, come back as int, and all others as float.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Item = dict[str, Any]
"""An item as plain values."""


class PerAttempt(msgspec.Struct, frozen=True):
    """A value that differs per attempt: `make` is called with the number of the attempt, from 1."""

    make: Callable[[int], Any]


def wrap(value: Any, attempt: int = 1) -> dict[str, Any]:
    """Return a value in DynamoDB's form: `{"S": "text"}`, `{"N": "1"}`, `{"M": {...}}`.

    Raises:
        TypeError: DynamoDB has no form for its type.

    """
    kind = type(value)
    if kind is str:
        return {"S": value}
    if kind is int or kind is float:
        return {"N": str(value)}
    if kind is dict:
        return {"M": wrap_all(value, attempt)}
    if kind is list or kind is tuple:
        return {"L": [wrap(member, attempt) for member in value]}
    if kind is PerAttempt:
        return wrap(value.make(attempt))
    if kind is bool:
        return {"BOOL": value}
    if kind is bytes:
        return {"B": b64encode(value).decode()}
    if value is None:
        return {"NULL": True}
    raise TypeError(f"{kind.__name__} has no form in DynamoDB")


def wrap_all(values: Mapping[str, Any], attempt: int = 1) -> dict[str, Any]:
    """Return an item, or the values of an expression, in DynamoDB's form."""
    return {
        name: {"S": value} if type(value) is str else wrap(value, attempt)  # most are text
        for name, value in values.items()
    }


def unwrap_all(item: Mapping[str, Any]) -> Item:
    """Return an item as plain values."""
    return {name: unwrap(value) for name, value in item.items()}


def unwrap(attribute: Mapping[str, Any]) -> Any:
    """Return an attribute as a plain value."""
    text = attribute.get("S")
    if text is not None:  # most attributes are text
        return text
    [(kind, value)] = attribute.items()
    return _PLAIN[kind](value)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "S": str,
    "N": _number,
    "B": b64decode,
    "BOOL": bool,
    "NULL": lambda _: None,
    "M": unwrap_all,
    "L": lambda members: [unwrap(member) for member in members],
}
