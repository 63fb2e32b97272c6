"""Rewrites schemas of clients and their libraries for the code that guides the answer.

The result means the same, or accepts more where llama.cpp's converter cannot express a member.
Nothing is checked here: a member that cannot be rewritten is left as it is, and `walk` refuses it
and names its place. The work is linear in the schema, and never recurses.
"""

from typing import Any, Final, Literal
from urllib.parse import unquote

from schema_guard.bounds import COUNTS
from schema_guard.walk import OR_BOOLEAN

Guide = Literal["llama.cpp", "llguidance"]

_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE: Final = OR_BOOLEAN | {"items"}
_LOOKS_AROUND: Final = ("(?=", "(?!", "(?<=", "(?<!")
_MAY_BE_NULL: Final = frozenset({"const", "default", "example", "examples"})


def plain(schema: Any, *, by: Guide) -> Any:
    """Return a rewritten copy of a schema. A value that is not an object is returned as it is.

    For llama.cpp there are no boolean schemas in it, its references lead to `$defs`, and what
    llama.cpp cannot express is left out. llguidance reads all of these.
    """
    if type(schema) is not dict:
        return schema
    return _Plain(schema, by).root


class _Plain:
    def __init__(self, schema: dict[str, Any], by: Guide) -> None:
        self._source = schema
        self._for_converter = by == "llama.cpp"
        self._named: dict[str, str] = {}
        self._number = 0
        self._added: dict[str, Any] = {}
        self._todo: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.root = self._later(schema)
        while self._todo:
            self._rewrite(*self._todo.pop())
        if self._added:
            definitions = self.root.get("$defs")
            known = definitions if type(definitions) is dict else {}
            self.root["$defs"] = {**known, **self._added}

    def _later(self, schema: Any) -> Any:
        """Return the place of a rewritten schema, which is filled in later."""
        if schema is True and self._for_converter:
            return {}
        if type(schema) is not dict:
            return schema
        place: dict[str, Any] = {}
        self._todo.append((schema, place))
        return place

    def _rewrite(self, given: dict[str, Any], found: dict[str, Any]) -> None:
        for name, value in given.items():
            if value is None and name not in _MAY_BE_NULL:
                continue  # absent
            if name in _MAPS and type(value) is dict:
                found[name] = {key: self._later(inner) for key, inner in value.items()}
            elif name in (*_LISTS, "items") and type(value) is list:
                found[name] = [self._later(inner) for inner in value]
            elif name in _SINGLE and not (type(value) is bool and name in OR_BOOLEAN):
                found[name] = self._later(value)
            elif name == "$ref" and type(value) is str and self._for_converter:
                found[name] = self._reference(value)
            elif name in COUNTS and type(value) is float and value.is_integer():
                found[name] = int(value)
            else:
                found[name] = value
        _types(found)
        _older_drafts(found)
        if found.get("properties") == []:  # PHP has one kind of empty array
            found["properties"] = {}
        if self._for_converter:
            _nothing(found)
            _unenforced(found)

    def _reference(self, reference: str) -> str:
        """Return a reference that llama.cpp resolves: below `$defs`, and without escapes."""
        if not reference.startswith("#") or _target(self._source, reference, str) is not None:
            return reference
        if reference not in self._named:
            target = (
                self._source if reference == "#" else _target(self._source, reference, _decoded)
            )
            if type(target) is not dict:
                return reference
            if target is self._source:
                definitions = ("$defs", "definitions")
                target = {key: value for key, value in target.items() if key not in definitions}
            taken = self._source.get("$defs") or ()
            while (name := f"schema{self._number}") in taken:
                self._number += 1
            self._number += 1
            self._named[reference] = f"#/$defs/{name}"
            self._added[name] = self._later(target)
        return self._named[reference]


def _decoded(part: str) -> str:
    return unquote(part).replace("~1", "/").replace("~0", "~")


def _target(schema: Any, reference: str, decode: Any) -> Any:
    """Return the schema that a reference names; None for none, or for the whole schema."""
    found = schema
    for part in reference.split("/")[1:]:
        name = decode(part)
        if type(found) is dict:
            found = found.get(name)
        elif type(found) is list and name.isascii() and name[:9].isdigit():
            found = found[int(name[:9])] if int(name[:9]) < len(found) else None
        else:
            return None
    return None if found is schema else found


def _types(schema: dict[str, Any]) -> None:
    """Leave out the type `any` of some libraries, and types that are named twice."""
    given = schema.get("type")
    if given == "any" or (type(given) is list and "any" in given):
        del schema["type"]
    elif type(given) is list and all(type(name) is str for name in given) and given:
        names = list(dict.fromkeys(given))
        schema["type"] = names[0] if len(names) == 1 else names


def _nothing(schema: dict[str, Any]) -> None:
    """Express the schema `false`, which nothing matches, where there is another way to say it."""
    properties, required = schema.get("properties"), schema.get("required")
    if type(properties) is dict:
        needed = required if type(required) is list else []
        for name in [name for name, inner in properties.items() if inner is False]:
            if name not in needed:
                del properties[name]
    for name in ("anyOf", "oneOf"):
        if type(schema.get(name)) is list and any(inner is not False for inner in schema[name]):
            schema[name] = [inner for inner in schema[name] if inner is not False]
    if schema.get("items") is False and "prefixItems" not in schema and not schema.get("minItems"):
        del schema["items"]
        schema["maxItems"] = 0


def _older_drafts(schema: dict[str, Any]) -> None:
    """Write members of drafts 3 and 4 as later drafts do."""
    for strict, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if type(schema.get(strict)) is bool and schema.pop(strict) and bound in schema:
            schema[strict] = schema.pop(bound)
    if type(schema.get("required")) is bool:  # of a property, which this place cannot express
        del schema["required"]


def _unenforced(schema: dict[str, Any]) -> None:
    """Leave out patterns that need not match at both ends, and maxima that are over the limits."""
    if _is_loose(schema.get("pattern")):
        del schema["pattern"]
    if type(named := schema.get("patternProperties")) is dict:
        for pattern in [pattern for pattern in named if _is_loose(pattern)]:
            del named[pattern]
    for name, limit in COUNTS.items():
        value = schema.get(name)
        if name.startswith("max") and type(value) is int and value > limit.most:
            del schema[name]


def _is_loose(pattern: Any) -> bool:
    """Return whether llama.cpp cannot hold an answer to a pattern: it has look-around, or may match
    anywhere in a text.
    """
    if type(pattern) is not str:
        return False
    anchored = pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$")
    return not anchored or any(sign in pattern for sign in _LOOKS_AROUND)
