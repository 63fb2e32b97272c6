"""Hypothesis strategies: small hostile schemas, most of which are rejected, and patterns."""

from typing import Any

from hypothesis import strategies as st

counts = st.sampled_from(
    [0, 1, 2, 5, 100, 1000, 1001, 2000, 100_000, 2**31, 2**63, -1, 1.0, True, None]
)
numbers = st.sampled_from([0, 1, -1, 5, 9, 10, 99, 0.5, -0.5, 10**14, 10**15, 2 * 10**15, 10**17, -(10**15), -(10**17), 2**53 - 1, 1 - 2**53, 2**63 - 1, -(2**63), 2**64, 1e300]) | st.integers(-(2**64), 2**64)  # fmt: skip
names = st.sampled_from(
    ["a", "b", "a-b", "a.b", "é", '"', "\\", "", "root", "string", "x" * 300, "\n"]
)
references = st.sampled_from(["#/$defs/a", "#/$defs/b", "#/$defs/c", "#/properties/a", "#", "#/anyOf/0", "#/items", "https://x/y", "#/$defs"])  # fmt: skip
values = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
)

_characters = st.sampled_from([*list('abzé界.-"/ ,'), "\\d", "\\w", "\\.", "\\n", "\\x41", "\\u00e9", "\\/", "\\\\", '\\"', "[a-z]", "[^a]", "[\\w.-]", "[é界]", "[^\\n]", "[]]", "[z-a]", "\\b", "\x00", '["\\\\]', "[a\\]]"])  # fmt: skip
_quantifiers = st.sampled_from(["", "", "", "?", "*", "+", "{3}", "{2,}", "{0,9}", "{5,2}", "{0,100}", "{1000}", "{99999}", "*?", "++"])  # fmt: skip


def _grouped(inner: "st.SearchStrategy[str]") -> "st.SearchStrategy[str]":
    kinds = st.sampled_from(["", "", "?:", "?=", "?!", "?<n>"])
    group = st.tuples(kinds, st.lists(inner, max_size=3)).map(
        lambda it: f"({it[0]}{'|'.join(it[1])})"
    )
    return st.lists(st.tuples(group | _characters, _quantifiers).map("".join), max_size=6).map(
        "".join
    )


patterns = st.recursive(
    st.tuples(_characters, _quantifiers).map("".join), _grouped, max_leaves=30
).map("^{}$".format)


def _members(inner: "st.SearchStrategy[Any]") -> "st.SearchStrategy[Any]":
    lists = st.lists(inner, max_size=3)
    named = st.dictionaries(names, inner, max_size=3)
    kinds = st.sampled_from(["string", "integer", "number", "array", "object", "null", "boolean"])
    fields: dict[str, st.SearchStrategy[Any]] = {
        "type": kinds | kinds | st.lists(kinds, max_size=4) | st.none(),
        "properties": named,
        "required": st.lists(names, max_size=3),
        "additionalProperties": st.booleans() | inner,
        "items": inner | lists,
        "prefixItems": lists,
        "anyOf": lists,
        "oneOf": lists,
        "allOf": lists,
        "not": inner,
        "$ref": references,
        "$defs": st.fixed_dictionaries({}, optional={"a": inner, "b": inner, "c": inner}),
        "enum": st.lists(values, max_size=5)
        | st.integers(1, 600).map(lambda count: [f"v{n}" for n in range(count)]),
        "const": values,
        "pattern": patterns,
        "patternProperties": st.dictionaries(patterns, inner, max_size=2),
        "format": st.sampled_from(["date", "time", "date-time", "uuid", "uuid4", "email", "uri"]),
        "default": values,
    }
    fields |= dict.fromkeys(
        ("minItems", "maxItems", "minLength", "maxLength", "minContains", "maxProperties"), counts
    )
    fields |= dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), numbers)
    chosen = st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)
    return chosen.flatmap(lambda keys: st.fixed_dictionaries({key: fields[key] for key in keys}))


schemas: "st.SearchStrategy[Any]" = st.recursive(
    st.just({}) | _members(st.just({"type": "string"})), _members, max_leaves=12
)
"""Most hostile members by themselves; recursion puts them into each other."""
json_values = st.recursive(
    values | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
