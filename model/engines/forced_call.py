"""Tool calls that a request requires, for engines that guide by a JSON schema. Pure.

llama.cpp's own grammar for a required tool lets a model write any amount of text before the call,
and a small model never begins it. Here the answer is guided to be the call from its first token on,
`{"name":...,"arguments":{...}}`. `CallReader` translates it back into OpenAI's pieces as it comes.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}
# These members map names to schemas.
NAMED = (
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
)
# These members hold values, in which a `$ref` is not a reference.
DATA = (
    "const",
    "enum",
    "default",
    "example",
    "examples",
)
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*')
_TAIL = re.compile(r"\s*\}?\s*\Z")


def schema(functions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a call of one of these functions.

    The functions are OpenAI's objects with `name` and perhaps `parameters`.
    """
    definitions: dict[str, Any] = {}
    calls = []
    for number, function in enumerate(functions):
        place = f"tool{number}"
        definitions[place] = _moved(
            function.get("parameters") or _NO_PARAMETERS, f"#/$defs/{place}"
        )
        properties = {
            "name": {"const": function["name"]},
            "arguments": {"$ref": f"#/$defs/{place}"},
        }
        calls.append(
            {"type": "object", "properties": properties, "required": ["name", "arguments"]}
        )
    return {"anyOf": calls, "$defs": definitions}


def _moved(value: Any, base: str, *, names: bool = False) -> Any:
    """Return a schema with its references to itself changed to point below `base`.

    With `names`, `value` maps names to schemas.
    """
    if isinstance(value, list):
        return [_moved(inner, base) for inner in value]
    if not isinstance(value, dict):
        return value
    moved = {}
    for key, inner in value.items():
        if names or key not in ("$ref", *DATA):
            moved[key] = _moved(inner, base, names=not names and key in NAMED)
        elif key == "$ref" and isinstance(inner, str) and (inner == "#" or inner.startswith("#/")):
            moved[key] = base + inner[1:]
        else:
            moved[key] = inner
    return moved


class CallReader:
    """Turns the text of one guided answer into the pieces of one tool call."""

    def __init__(self) -> None:
        self._text = ""
        self._began = False
        self._began_arguments = False

    def feed(self, text: str) -> list[Mapping[str, Any]]:
        """Return the pieces that this text completes."""
        self._text = self._text + text if self._began_arguments else (self._text + text).lstrip()
        pieces: list[Mapping[str, Any]] = []
        if not self._began:
            head = _HEAD.match(self._text)
            if head is None:
                return []
            self._began = True
            # This also drops the white space before the arguments.
            self._text = self._text[head.end() :]
            function = {"name": head.group(1), "arguments": ""}
            call_id = f"call_{secrets.token_hex(12)}"
            pieces.append({"index": 0, "id": call_id, "type": "function", "function": function})
        # A last bracket may close the call itself, not its arguments.
        held = _TAIL.search(self._text)
        place = held.start() if held is not None else len(self._text)
        if place:
            self._began_arguments = True
            pieces.append({"index": 0, "function": {"arguments": self._text[:place]}})
            self._text = self._text[place:]
        return pieces
