"""The file of the state that outlives a local cloud, as `local.moto.kept` makes it.

{"version": 1,
 "tables": {NAME: {"region": R, "keys": [KeySchema], "items": [item in DynamoDB's JSON]}},
 "secrets": {NAME: {"region": R, "value": SecretString}}}
"""

import base64
import json
from decimal import Decimal
from typing import Any

VERSION = 1


class KeptError(ValueError):
    """The kept state cannot be used. The message is one line."""


def check(text: bytes) -> dict[str, Any]:
    """Return the kept state in a file's bytes. Raises KeptError, which names the place of the
    fault.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise KeptError("it is damaged: it is truncated, or not JSON") from None
    _need(isinstance(found, dict), "it has no members")
    if found.get("version") != VERSION:
        raise KeptError(f"it has version {found.get('version')}, this checkout reads {VERSION}")
    for kind in ("tables", "secrets"):
        _need(isinstance(found.get(kind), dict), f"`{kind}` is missing")
        for name, kept in found[kind].items():
            place = f"`{kind}.{name}`"
            _need(isinstance(kept, dict) and isinstance(kept.get("region"), str), place)
            if kind == "tables":
                _check_table(kept, place)
            else:
                _need(isinstance(kept.get("value"), str), place)
    return {name: found[name] for name in ("version", "tables", "secrets")}


def _need(holds: bool, place: str) -> None:
    if not holds:
        raise KeptError(f"it is damaged at {place}")


def _check_table(table: dict[str, Any], place: str) -> None:
    """Raise KeptError if keys or items have another form than DynamoDB's."""
    keys: Any = table.get("keys")
    items: Any = table.get("items")
    _need(isinstance(keys, list) and isinstance(items, list), place)
    for key in keys:
        _need(isinstance(key, dict) and isinstance(key.get("AttributeName"), str), place)
    for number, item in enumerate(items):
        _need(isinstance(item, dict), f"item {number} of {place}")
        _need(
            all(key["AttributeName"] in item for key in keys)
            and all(_is_value(value) for value in item.values()),
            f"item {number} of {place}",
        )


def _is_value(value: object) -> bool:
    """Return whether this is an attribute value in DynamoDB's JSON."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    [(kind, content)] = value.items()
    if kind in {"S", "N", "B"}:
        return _is_scalar(kind, content)
    if kind in {"SS", "NS", "BS"}:
        return isinstance(content, list) and all(_is_scalar(kind[0], part) for part in content)
    if kind == "BOOL":
        return isinstance(content, bool)
    if kind == "NULL":
        return content is True
    if kind == "L":
        return isinstance(content, list) and all(map(_is_value, content))
    return kind == "M" and isinstance(content, dict) and all(map(_is_value, content.values()))


def _is_scalar(kind: str, content: object) -> bool:
    if not isinstance(content, str):
        return False
    try:
        if kind == "N":
            return Decimal(content).is_finite()
        if kind == "B":
            base64.b64decode(content, validate=True)
    except (ArithmeticError, ValueError):
        return False
    return True
