"""The fields of settings: checks of choices, bounds and patterns, and their descriptions."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin


class SettingsError(ValueError):
    """A setting is unknown or its value is invalid.

    The message tells the person who deploys what is accepted.
    """


class RepeatedNameError(Exception):
    """A JSON object has a name twice."""


def read_json(text: str) -> Any:
    """Return a JSON text's value.

    Raises:
        RepeatedNameError: an object has a name twice, of which Python would drop the first.
        ValueError: the text is not JSON.

    """
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise RepeatedNameError(f"{name} is in it twice; each name once")
        members[name] = value
    return members


def setting(
    *,
    default: Any = dataclasses.MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    form: str = "",
) -> Any:
    """Return a dataclass field of a setting.

    Args:
        default: The default; without one, each stage has a value.
        minimum: The smallest number.
        maximum: The largest number.
        pattern: The regular expression that a text must match, or each text of a tuple or
            mapping.
        form: A description of the pattern.

    """
    metadata = {"minimum": minimum, "maximum": maximum, "pattern": pattern, "form": form}
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def plain(kind: Any) -> Any:
    """Return an optional type without its None, and any other type as it is."""
    others = [arg for arg in get_args(kind) if arg is not type(None)]
    return others[0] if type(None) in get_args(kind) else kind


def is_optional(kind: Any) -> bool:
    """Return whether None is a value of a type."""
    return type(None) in get_args(kind)


def choices(kind: Any) -> tuple[Any, ...] | None:
    """Return the values of a Literal type; None for other types."""
    return get_args(plain(kind)) if get_origin(plain(kind)) is Literal else None


def check(field: dataclasses.Field[Any], kind: Any, value: object) -> None:
    """Raise SettingsError if `value` is not a value of `field`, whose type is `kind`."""
    if value is None and is_optional(kind):
        return
    meta = field.metadata
    pattern: str | None = meta.get("pattern")
    allowed = choices(kind)
    texts = (
        value
        if isinstance(value, tuple)
        else value.values()
        if isinstance(value, Mapping)
        else (value,)
    )
    wrong_choice = allowed is not None and value not in allowed
    out_of_bounds = isinstance(value, int | float) and _out_of_bounds(
        value, meta.get("minimum"), meta.get("maximum")
    )
    malformed = pattern is not None and any(
        re.fullmatch(pattern, str(text)) is None for text in texts
    )
    if wrong_choice or out_of_bounds or malformed:
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise SettingsError(f"{field.name}={shown}: must be {accepted(field, kind)}")


def _out_of_bounds(value: float, minimum: float | None, maximum: float | None) -> bool:
    return minimum is not None and maximum is not None and not minimum <= value <= maximum


def accepted(field: dataclasses.Field[Any], kind: Any) -> str:
    """Return a description of the values that a setting accepts."""
    meta = field.metadata
    allowed = choices(kind)
    if plain(kind) is bool:
        text = "true or false"
    elif allowed is not None:
        text = " or ".join(", ".join(map(str, allowed)).rsplit(", ", 1))
    elif meta.get("minimum") is not None:
        number = "a number" if plain(kind) is float else "a whole number"
        text = f"{number} from {meta['minimum']} to {meta['maximum']}"
    else:
        text = meta["form"]
    return f"{text}, or none" if is_optional(kind) else text
