"""CloudFormation's checks of a resource's properties, by the published schemas of its registry.

cfn-lint carries the schemas. Its rules are not used, because their import takes seconds. This
module checks types (with CloudFormation's conversions of strings), required and unknown properties,
enumerations, and minimum and maximum numbers. Patterns and combinations (`oneOf` and the like) are
left to the services.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
_REGION = "us-east-1"


def violations(kind: str, properties: dict[str, Any]) -> str | None:
    """Return CloudFormation's message about the resolved properties of a type.

    Return None if they are valid or the type has no schema.
    """
    schema = of(kind)
    if schema is None:
        return None
    faults = list(_check(schema, schema, properties, "#"))
    return "; ".join(faults) if faults else None


def attributes(kind: str) -> frozenset[str] | None:
    """Return the names that Fn::GetAtt accepts; None if the type has no schema."""
    schema = of(kind)
    if schema is None:
        return None
    read_only = (
        path.removeprefix("/properties/").replace("/", ".")
        for path in schema.get("readOnlyProperties", ())
    )
    return frozenset([*read_only, *schema.get("properties", {})])


@lru_cache(maxsize=1)
def _index() -> tuple[Path, dict[str, str]]:
    spec = find_spec("cfnlint")
    assert spec is not None and spec.submodule_search_locations  # noqa: PT018, S101 - moto needs it too
    folder = Path(spec.submodule_search_locations[0]) / "data" / "schemas"
    return folder, json.loads((folder / "providers" / f"{_REGION}.json").read_text())


@lru_cache(maxsize=256)
def of(kind: str) -> Schema | None:
    """Return the schema of a type, or None."""
    folder, names = _index()
    if kind not in names:
        return None
    schema: Schema = json.loads((folder / "resources" / f"{names[kind]}.json").read_text())
    return schema


def _check(root: Schema, schema: Schema, value: Any, path: str) -> Iterator[str]:
    while "$ref" in schema:
        node: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        schema = node
    kinds = schema.get("type")
    types = [kinds] if isinstance(kinds, str) else kinds or []
    if types and not any(_is(kind, value) for kind in types):
        yield f"{path}: expected type: {_shown(types)}, found: {_name(value)}"
        return
    if isinstance(value, dict):
        yield from _members(root, schema, value, path)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _check(root, schema.get("items", {}), item, f"{path}/{number}")
    else:
        yield from _scalar(schema, value, path)


def _members(root: Schema, schema: Schema, value: dict[str, Any], path: str) -> Iterator[str]:
    members = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}: required key [{name}] not found"
    for name, item in value.items():
        if name in members:
            yield from _check(root, members[name], item, f"{path}/{name}")
        elif (
            members
            and schema.get("additionalProperties") is False
            and "patternProperties" not in schema
        ):
            yield f"{path}: extraneous key [{name}] is not permitted"


def _scalar(schema: Schema, value: Any, path: str) -> Iterator[str]:
    allowed = schema.get("enum")
    if allowed and str(value) not in map(str, allowed):
        yield f"{path}: {value} is not a valid enum value"
    for key, words, beyond in (("maximum", "less", 1), ("minimum", "greater", -1)):
        if key in schema and isinstance(value, int | float | str):
            try:
                over = (float(value) - schema[key]) * beyond > 0
            except ValueError:
                continue
            if over:
                yield f"{path}: {value} is not {words} or equal to {schema[key]}"


def _is(kind: str, value: Any) -> bool:
    """Return whether a value has a JSON type, after CloudFormation's conversions of strings."""
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "boolean":
            return isinstance(value, bool) or str(value).lower() in {"true", "false"}
        case "integer" | "number":
            try:
                number = float(value)
                return not isinstance(value, bool) and (kind == "number" or number.is_integer())
            except (TypeError, ValueError):
                return False
        case "string":
            return isinstance(value, str | int | float | bool)
    return True


def _name(value: Any) -> str:
    names = {
        bool: "Boolean",
        int: "Integer",
        float: "Number",
        str: "String",
        list: "JSONArray",
        dict: "JSONObject",
    }
    return names.get(type(value), "Null")


def _shown(kinds: list[str]) -> str:
    names = {"array": "JSONArray", "object": "JSONObject"}
    return " or ".join(names.get(kind, kind.capitalize()) for kind in kinds)
