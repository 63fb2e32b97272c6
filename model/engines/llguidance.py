"""Rewrites callers' JSON schemas for llguidance. Pure.

The result means the same or accepts more, and has nothing that llguidance fails at.

An object accepts only the properties that its schema names, unless the schema allows others.
llama.cpp does the same, because a small model would invent more and more properties. An object that
is composed of several schemas stays open: if each schema were closed, none would accept the
properties of the others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from model.engines.search_pattern import anchored

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ITEMS = 5000  # this many optional items take 0.1 s to prepare, 100,000 take more than 10 s
# Members that llguidance reads. All others are left out, including its own options.
_READ = frozenset(
    {
        *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "required"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "minProperties", "maxProperties"),
    }
)
_ONE = ("items", "additionalItems", "additionalProperties")
_MAPS = ("properties", "patternProperties")
_SAME = (
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
)
_OF_OBJECTS = (
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "required",
)
_OPENED = ("patternProperties", "unevaluatedProperties")


def rewritten(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form for llguidance of a schema that `schema_guard` has checked."""
    return _Rewriter(schema).whole()


class _Rewriter:
    """Rewrites one schema and the definitions that it needs."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._names: dict[tuple[str, bool], str] = {}

    def whole(self) -> dict[str, Any]:
        root = self._one(self._schema, joined=False)
        definitions: dict[str, Any] = {}
        while len(definitions) < len(self._names):
            for (reference, joined), name in list(self._names.items())[len(definitions) :]:
                definitions[name] = self._one(target(self._schema, reference), joined=joined)
        return {**root, "$defs": definitions} if definitions else root

    def _one(self, schema: Any, *, joined: bool) -> Any:
        """Return one rewritten schema. With `joined`, its values must match other schemas, too."""
        if not isinstance(schema, dict):
            return schema
        given = {key: value for key, value in schema.items() if value is not None or key == "const"}
        found = {key: value for key, value in given.items() if key in _READ}
        _bounds(found)
        _pattern(found)
        found |= {key: self._member(given[key]) for key in _ONE if key in given}
        found |= {
            key: {name: self._one(item, joined=False) for name, item in given[key].items()}
            for key in _MAPS
            if isinstance(given.get(key), dict)
        }
        _pattern_properties(found)
        same = [key for key in _SAME if key in given]
        parts = sum(len(given[key]) if key == "allOf" else 1 for key in same)
        joined = joined or parts > 1 or (parts == 1 and any(key in given for key in _OF_OBJECTS))
        for key in ("allOf", "anyOf", "oneOf"):
            if isinstance(given.get(key), list):
                found[key] = [self._one(item, joined=joined) for item in given[key]]
        if isinstance(given.get("prefixItems"), list):
            found["prefixItems"] = [self._one(item, joined=False) for item in given["prefixItems"]]
        if isinstance(given.get("$ref"), str):
            found["$ref"] = self._reference(given["$ref"], joined=joined)
        named = (
            "properties" in found and set(found.get("required", ())) <= found["properties"].keys()
        )
        if named and not (joined or same or any(key in given for key in _OPENED)):
            found.setdefault("additionalProperties", False)
        return found

    def _member(self, value: Any) -> Any:
        if isinstance(value, list):  # the items of a tuple, as before 2020
            return [self._one(item, joined=False) for item in value]
        return self._one(value, joined=False)

    def _reference(self, reference: str, *, joined: bool) -> str:
        if target(self._schema, reference) is None:
            return reference  # llguidance refuses it and says why
        return f"#/$defs/{self._names.setdefault((unquote(reference), joined), f's{len(self._names)}')}"


def target(schema: Any, reference: str) -> Any:
    """Return the schema that a reference names; None if there is none."""
    if not reference.startswith("#"):
        return None
    value = schema
    for part in unquote(reference).removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif (
            isinstance(value, list) and re.fullmatch("[0-9]{1,6}", name) and int(name) < len(value)
        ):
            value = value[int(name)]
        else:
            return None
    return value


def _bounds(schema: dict[str, Any]) -> None:
    """Write draft 4's bounds as later drafts do, and drop those that llguidance cannot count to."""
    for strict, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(strict), bool) and schema.pop(strict) and bound in schema:
            schema[strict] = schema.pop(bound)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if (_beyond(low, 1) and high is None) or (_beyond(high, -1) and low is None):
        for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            schema.pop(name, None)
    if isinstance(most := schema.get("maxItems"), int) and most > max(
        MAX_ITEMS, schema.get("minItems", 0)
    ):
        del schema["maxItems"]


def _beyond(value: Any, sign: int) -> bool:
    """Return whether llguidance lacks digits for numbers beyond a bound, in direction `sign`."""
    return isinstance(value, int | float) and value * sign >= 10**15


def _pattern(schema: dict[str, Any]) -> None:
    if not isinstance(schema.get("pattern"), str):
        return
    whole = anchored(schema["pattern"])
    if whole is None:
        del schema["pattern"]
    else:
        schema["pattern"] = whole


def _pattern_properties(schema: dict[str, Any]) -> None:
    """Anchor the patterns in `patternProperties`.

    If one of them cannot be expressed, all other names may have any value.
    """
    given = schema.pop("patternProperties", None)
    if not given:
        return
    found = {anchored(pattern): inner for pattern, inner in given.items()}
    if found.pop(None, given) is not given:
        schema["additionalProperties"] = True
    schema["patternProperties"] = {
        pattern: inner for pattern, inner in found.items() if pattern is not None
    }
