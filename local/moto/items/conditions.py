"""Patch moto to parse each condition once: most have the text of an earlier one.

Their values are placeholders. What depends on a call's values is made for each call.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from moto.dynamodb.comparisons import AttributePath, AttributeValue, ConditionExpressionParser

# In characters. Longer conditions are DynamoDB's error, or rare.
_LONGEST = 4096


class _Parsed(NamedTuple):
    """A parsed condition, and the names and values in it: all, and those that are placeholders."""

    tree: Any
    names: list[str]
    values: list[str]
    named: frozenset[str]


def install() -> None:
    """Replace the parser's method. It may be called more than once."""
    if ConditionExpressionParser.parse is not _parse:
        _PARSE.append(ConditionExpressionParser.parse)
        ConditionExpressionParser.parse = _parse


_PARSE: list[Any] = []


def _parse(self: Any) -> Any:
    """Parse as moto does. An error is moto's own, because only what it has parsed is kept."""
    text, names = self.condition_expression, self.expression_attribute_names or {}
    values = self.expression_attribute_values or {}
    if not text or len(text) > _LONGEST:
        return _PARSE[0](self)
    try:
        parsed = _parsed(text)
    except Exception:  # noqa: BLE001 - moto raises it again, with the call's own names and values
        return _PARSE[0](self)
    if not (parsed.named <= names.keys() and values.keys() >= set(parsed.values)):
        return _PARSE[0](self)
    self.expr_attr_names_found.extend(parsed.names)
    self.expr_attr_values_found.extend(parsed.values)
    return _Bound(text, names, values)._make_op_condition(parsed.tree)  # noqa: SLF001 (moto's own, pinned)


class _Anything(dict[str, Any]):
    """Has a value for each placeholder: its own name."""

    def __missing__(self, name: str) -> Any:
        return {"S": name} if name.startswith(":") else name


class _Captured(ConditionExpressionParser):  # type: ignore[misc] # moto is untyped here
    """Keeps the tree that moto makes the condition of."""

    tree: Any = None

    def _make_op_condition(self, node: Any) -> Any:
        if self.tree is None:
            self.tree = node
        return super()._make_op_condition(node)


class _Bound(ConditionExpressionParser):  # type: ignore[misc] # moto is untyped here
    """Makes a condition of a tree, with the names and values of a call."""

    def _make_operand(self, node: Any) -> Any:
        if node.kind == self.Kind.PATH:
            names = self.expression_attribute_names
            return AttributePath(
                [
                    names[child.text] if child.text.startswith("#") else child.value
                    for child in node.children
                ]
            )
        if node.kind == self.Kind.EXPRESSION_ATTRIBUTE_VALUE:
            return AttributeValue(self.expression_attribute_values[node.text])
        return super()._make_operand(node)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> _Parsed:
    """Return what moto parses, with any names and values.

    Raises what moto raises.
    """
    parser = _Captured(text, _Anything(), _Anything())
    _PARSE[0](parser)
    names = list(parser.expr_attr_names_found)
    return _Parsed(
        parser.tree,
        names,
        list(parser.expr_attr_values_found),
        frozenset(name for name in names if name.startswith("#")),
    )
