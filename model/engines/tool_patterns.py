r"""Rewrites patterns in the parameters of tools, so that llama.cpp's own grammars write JSON. Pure.

llama.cpp takes a pattern for the text between two quotation marks, as it stands in the answer. So
'.' would match the mark that ends the string, and all that follows. Then every place where the
string may have ended is followed at once, and the answer is not JSON. Here no pattern matches a
character that JSON would have to escape. A pattern that needs one is left out. One with a set by
name, such as '\d', stays: llama.cpp accepts any string for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from model.engines.forced_call import DATA, NAMED

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTROLS = r"\x00-\x1F"
_OTHERS = rf'[^"\\{_CONTROLS}'  # a range comes last: nothing that follows can extend it
_ESCAPED = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
_SETS = frozenset("dwsDWS")  # llama.cpp accepts any string for a pattern that has one
# One element of a checked pattern: an escape, brackets, or a single character.
_ESCAPE = r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)"
_ELEMENT = re.compile(rf"{_ESCAPE}|\[\^?(?:\\.|[^\\\]])*\]|.", re.DOTALL)
_ITEM = re.compile(rf"({_ESCAPE}|.)(?:-({_ESCAPE}|[^\]]))?", re.DOTALL)
_CODES = {"n": 10, "r": 13, "t": 9}


class _Unsaid(Exception):
    """The pattern needs a character that JSON would have to escape."""


class _Unknown(Exception):
    """The pattern has a set by name."""


def rewritten(schema: Any, *, names: bool = False) -> Any:
    """Return a schema that `schema_guard` has checked, with its patterns rewritten.

    With `names`, `schema` maps names to schemas.
    """
    if isinstance(schema, list):
        return [rewritten(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, inner in schema.items():
        if not names and key == "pattern" and isinstance(inner, str):
            if (pattern := in_json(inner)) is not None:
                found[key] = pattern
        elif names or key not in DATA:
            found[key] = rewritten(inner, names=not names and key in NAMED)
        else:
            found[key] = inner
    return found


def in_json(pattern: str) -> str | None:
    """Return a pattern whose texts need no escapes in a JSON string; None if there is none."""
    try:
        return "".join(map(_element, _ELEMENT.findall(pattern)))
    except _Unknown:
        return pattern
    except _Unsaid:
        return None


def _element(element: str) -> str:
    if element == ".":
        return f"{_OTHERS}]"
    if element.startswith("[") and len(element) > 1:
        return _set(element)
    if _is_escaped(_code(element)):
        raise _Unsaid
    return element


def _set(brackets: str) -> str:
    items = [
        match.groups()
        for match in _ITEM.finditer(brackets.removeprefix("[")[:-1].removeprefix("^"))
    ]
    ranges = [(_code(low), _code(high or low)) for low, high in items]
    if brackets.startswith("[^"):
        return f"{_OTHERS}{brackets[2:]}"
    if not any(low <= last and first <= high for low, high in ranges for first, last in _ESCAPED):
        return brackets
    rest = [f"{_shown(low)}-{_shown(high)}" for given in ranges for low, high in _without(*given)]
    if not rest:
        raise _Unsaid
    return f"[{''.join(rest)}]"


def _without(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that JSON does not escape."""
    for first, last in _ESCAPED:
        if low < first:
            yield low, min(high, first - 1)
        low = max(low, last + 1)
        if low > high:
            return
    yield low, high


def _code(element: str) -> int:
    """Return the code of a character that may be escaped. Raises _Unknown for a set."""
    if not element.startswith("\\") or len(element) == 1:
        return ord(element)
    sign = element[1]
    if sign in _SETS:
        raise _Unknown
    if len(element) > 2:
        return int.from_bytes(bytes.fromhex(element[2:]))
    return _CODES.get(sign, ord(sign))


def _is_escaped(code: int) -> bool:
    return any(first <= code <= last for first, last in _ESCAPED)


def _shown(code: int) -> str:
    return rf"\x{code:02X}" if code < 128 else chr(code)
