"""Reads the arguments of earlier tool calls, which clients send back with a conversation.

Chat templates and engines parse them in native code, and fail at anything but a JSON object.
"""

import json
import math
from typing import Any

from schema_guard.values import more_values

MAX_ARGUMENTS_DEPTH = 64
"""Levels of the arguments of a call."""
MAX_ARGUMENTS_VALUES = 20_000
"""JSON values in the arguments of a call."""
_NONE = frozenset({"", "null", "[]"})
"""The forms in which clients send no arguments. `[]` is PHP's empty object."""


class ArgumentsRefused(ValueError):
    """The arguments of a call cannot be read."""


def arguments_text(given: Any) -> str:
    """Return the arguments of a call as the text of a JSON object.

    `given` is that text, or the object itself. Missing and empty arguments are `{}`.

    Raises ArgumentsRefused for arguments that are not a JSON object, or too large.
    """
    if given is None or given == {}:
        return "{}"
    if isinstance(given, dict):
        try:
            given = json.dumps(given, ensure_ascii=False)
        except (RecursionError, ValueError):
            raise ArgumentsRefused("are nested too deeply") from None
    if not isinstance(given, str):
        raise ArgumentsRefused("must be the text of a JSON object")
    text = given.removeprefix("\ufeff").strip(" \t\r\n")
    if text in _NONE:
        return "{}"
    if len(text) > MAX_ARGUMENTS_VALUES and more_values(
        text.encode("utf-8", "replace"), MAX_ARGUMENTS_VALUES
    ):
        raise ArgumentsRefused(f"have more than {MAX_ARGUMENTS_VALUES} values")
    try:
        value = json.loads(
            text, parse_constant=_no_constant, parse_float=_finite, parse_int=_finite
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ArgumentsRefused(
            f"are not JSON ({error.msg} at character {error.pos}): send the call without them, "
            "or write them as a JSON object"
        ) from None
    except UnicodeEncodeError:
        raise ArgumentsRefused("have half of a surrogate pair in a string") from None
    except RecursionError:
        raise ArgumentsRefused("are nested too deeply") from None
    if not isinstance(value, dict):
        raise ArgumentsRefused("must be a JSON object, not another value")
    if _is_deep(text, value):
        raise ArgumentsRefused(f"are nested deeper than {MAX_ARGUMENTS_DEPTH} levels")
    return text


def _no_constant(name: str) -> None:
    raise ArgumentsRefused(f"are not JSON: {name} is not a JSON number")


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ArgumentsRefused("have a number that is too large")
    return number


def _is_deep(text: str, value: Any) -> bool:
    if text.count("[") + text.count("{") <= MAX_ARGUMENTS_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_ARGUMENTS_DEPTH):
        inner: list[Any] = []
        for item in level:
            inner += item.values() if isinstance(item, dict) else item
        level = [item for item in inner if isinstance(item, (dict, list))]
        if not level:
            return False
    return True
