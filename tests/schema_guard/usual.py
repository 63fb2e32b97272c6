"""Schemas as pydantic, zod and people write them."""

from typing import Any

STRING = {"type": "string"}
UUID = "^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-000000000000)$"
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
DATE = r"^(?:(?:\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00)-02-29|\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|(?:02)-(?:0[1-9]|1\d|2[0-8])))$"
BASE64 = "^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$"
SAFE = 2**53 - 1


def closed(**properties: Any) -> dict[str, Any]:
    """Return an object as strict structured outputs want it."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


USUAL: dict[str, Any] = {
    "any value": {},
    "an object of anything": {"type": "object"},
    "no parameters": {"type": "object", "properties": {}},
    "no parameters, of a Go client": {"type": "object", "properties": {}, "required": None},
    "strict": closed(name=STRING, age={"type": "integer", "description": "years"}),
    "pydantic, optional": {"properties": {"a": {"anyOf": [STRING, {"type": "null"}], "default": None, "title": "A"}}, "title": "M", "type": "object"},
    "pydantic, Decimal": {"anyOf": [{"type": "number"}, {"pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", "type": "string"}]},
    "pydantic, tuple": {"maxItems": 2, "minItems": 2, "prefixItems": [STRING, {"type": "integer"}], "type": "array"},
    "pydantic, dict": {"additionalProperties": {"type": "integer"}, "type": "object"},
    "pydantic, constrained": closed(a={"exclusiveMinimum": 0, "maximum": 100, "type": "integer"}, b={"maxLength": 255, "minLength": 1, "type": "string"}, c={"minimum": 0.5, "type": "number"}, d={"maxItems": 10, "type": "array", "items": STRING, "uniqueItems": True}),
    "pydantic, nested": {"$defs": {"Color": {"enum": ["red", "green"], "title": "Color", "type": "string"}, "Item": closed(color={"$ref": "#/$defs/Color"}, n={"const": 5})}, **closed(items={"items": {"$ref": "#/$defs/Item"}, "type": "array"}, first={"$ref": "#/$defs/Item"})},
    "pydantic, discriminated": {"$defs": {kind: closed(kind={"const": kind, "type": "string"}, value={"enum": [f"{kind}{n}" for n in range(200)]}) for kind in ("a", "b", "c", "d", "e")}, "discriminator": {"propertyName": "kind"}, "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in "abcde"]},
    "recursive": {"$ref": "#/$defs/Node", "$defs": {"Node": closed(value=STRING, children={"type": "array", "items": {"$ref": "#/$defs/Node"}})}},
    "recursive, nullable": {"$ref": "#/$defs/Node", "$defs": {"Node": closed(next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})}},
    "zod, integer": {"$schema": "https://json-schema.org/draft/2020-12/schema", **closed(n={"type": "integer", "minimum": -SAFE, "maximum": SAFE}, m={"type": "integer", "exclusiveMinimum": 0, "maximum": SAFE})},
    "zod, formats": closed(id={"type": "string", "format": "uuid", "pattern": UUID}, mail={"type": "string", "format": "email", "pattern": EMAIL}, day={"type": "string", "format": "date", "pattern": DATE}, data={"type": "string", "contentEncoding": "base64", "pattern": BASE64}, url={"type": "string", "format": "uri"}),
    "zod, record": {"type": "object", "propertyNames": STRING, "additionalProperties": {"type": "number"}},
    "zod, references by path": {"type": "object", "properties": {"a": closed(x=STRING), "b": {"$ref": "#/properties/a"}}},
    "zod, draft 7": {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"m": {"type": ["string", "null"]}}, "$ref": "#/definitions/m"},
    "zod, never": {"not": {}},
    "draft 7 tuple": {"type": "array", "items": [STRING, STRING], "additionalItems": False, "minItems": 2, "maxItems": 2},
    "dates": closed(a={"type": "string", "format": "date-time"}, b={"type": "string", "format": "date"}, c={"type": "string", "format": "time"}),
    "an enum of 200": closed(country={"type": "string", "enum": [f"country {n}" for n in range(200)]}),
    "an enum with null": {"type": ["string", "null"], "enum": ["a", "b", None]},
    "allOf": {"allOf": [{"$ref": "#/$defs/Base"}, {"type": "object", "properties": {"b": STRING}}], "$defs": {"Base": {"type": "object", "properties": {"a": STRING}}}},
    "OpenAPI 3.0": {"type": "object", "properties": {"a": {"type": "string", "nullable": True, "example": "x"}, "b": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**63 - 1}}, "required": ["a", "gone"]},
    "other names": closed(**{"名前": STRING, "größe": STRING, "$ref": STRING, "type": STRING, "enum": STRING, "a b": STRING}),
    "sixty names in another script": {"type": "object", "properties": {chr(0x4E00 + number): STRING for number in range(60)}},
    "patterns": closed(phone={"type": "string", "pattern": r"^\+?[0-9]{1,3}-\d{3,}$"}, slug={"type": "string", "pattern": "^[a-z0-9]+(?:-[a-z0-9]+)*$"}, version={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}, color={"type": "string", "pattern": "^#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})$"}, host={"type": "string", "pattern": r"^([a-z0-9-]+\.)+[a-z]{2,}$"}, path={"type": "string", "pattern": r"^\/[\w\/.-]*$"}, name={"type": "string", "pattern": "^[A-Za-zÀ-ÿ' -]{1,50}$"}),
    "conditions": {"type": "object", "properties": {"a": {"type": "boolean"}}, "if": {"properties": {"a": {"const": True}}}, "then": {"required": ["b"]}, "else": True, "unevaluatedProperties": False},
    "deep": {"type": "object", "properties": {"a": closed(b=closed(c=closed(d=closed(e=closed(f={"type": "array", "items": closed(g=STRING)})))))}},
    "long texts": closed(body={"type": "string", "maxLength": 65_535, "description": "d" * 5000}),
}  # fmt: skip
