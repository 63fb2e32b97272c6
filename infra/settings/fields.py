"""What a setting's field may hold: its type's choices, bounds or pattern, checked and said in words."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin


class SettingsError(ValueError):
    """A setting is unknown or its value makes no sense; the message is for the person who gave it."""


def setting(
    *,
    default: Any = dataclasses.MISSING,
    least: float | None = None,
    most: float | None = None,
    pattern: str | None = None,
    form: str = "",
) -> Any:
    """A field with its bounds (inclusive) or the pattern of its text, `form` being that pattern in words.

    A field of several texts (`tuple[str, ...]`) has the pattern of each of them.
    """
    metadata = {"least": least, "most": most, "pattern": pattern, "form": form}
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def plain(kind: Any) -> Any:
    """A type without its None."""
    others = [arg for arg in get_args(kind) if arg is not type(None)]
    return others[0] if type(None) in get_args(kind) else kind


def is_optional(kind: Any) -> bool:
    """Whether None is a value of it."""
    return type(None) in get_args(kind)


def choices(kind: Any) -> tuple[Any, ...] | None:
    """The values that a type has, None when they are not a short list."""
    return get_args(plain(kind)) if get_origin(plain(kind)) is Literal else None


def check(field: dataclasses.Field[Any], kind: Any, value: object) -> None:
    """Raise SettingsError when `field`, of type `kind`, may not be `value`."""
    if value is None and is_optional(kind):
        return
    meta = field.metadata
    pattern: str | None = meta.get("pattern")
    given = choices(kind)
    texts = value if isinstance(value, tuple) else value.values() if isinstance(value, Mapping) else (value,)
    wrong_choice = given is not None and value not in given
    out_of_bounds = isinstance(value, int | float) and _out_of_bounds(value, meta.get("least"), meta.get("most"))
    malformed = pattern is not None and any(re.fullmatch(pattern, str(text)) is None for text in texts)
    if wrong_choice or out_of_bounds or malformed:
        raise SettingsError(f"{field.name}={value}: must be {wanted(field, kind)}")


def _out_of_bounds(value: float, least: float | None, most: float | None) -> bool:
    return least is not None and most is not None and not least <= value <= most


def wanted(field: dataclasses.Field[Any], kind: Any) -> str:
    """What a setting takes, in words."""
    meta = field.metadata
    given = choices(kind)
    if plain(kind) is bool:
        said = "true or false"
    elif given is not None:
        said = " or ".join(", ".join(map(str, given)).rsplit(", ", 1))
    elif meta.get("least") is not None:
        number = "a number" if plain(kind) is float else "a whole number"
        said = f"{number} from {meta['least']} to {meta['most']}"
    else:
        said = meta["form"]
    return f"{said}, or none" if is_optional(kind) else said
