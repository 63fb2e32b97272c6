"""Patch moto to skip redundant work on DynamoDB's attribute values.

moto stores attribute values as the JSON in which they arrived. Its serializer nevertheless walks
botocore's model for each value, which is most of the time of a call that returns an item. Only
binary values need this. moto also parses each update expression, though most have the same text as
an earlier one, because their values are placeholders. It validates a copy of the parsed tree by ten
walks over it, and asks for the class of each node again. These are most of the rest.
"""

import pickle
from copy import deepcopy
from functools import lru_cache
from typing import Any

from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node
from moto.dynamodb.parsing.expressions import UpdateExpressionParser


def install() -> None:
    """Pass attribute values through moto's serializer, cache parsed expressions, walk them faster.

    moto validates copies of a parsed expression, so the cached one does not change.
    """
    if BaseJSONSerializer._serialize_type_structure.__name__ == "pass_through":  # noqa: SLF001 (moto's own, pinned)
        return
    UpdateExpressionParser.make = lru_cache(maxsize=1024)(UpdateExpressionParser.make)
    validators.deepcopy = _copied
    DepthFirstTraverser.traverse = _walked
    # It counts the clauses of each part of an expression. No part has more than the whole.
    validators.ActionCountValidator.traverse = validators.ActionCountValidator.verify_action_counts
    walk = BaseJSONSerializer._serialize_type_structure  # noqa: SLF001 (moto's own, pinned)

    def pass_through(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict) and _plain(value):
            serialized[key] = value
        else:
            walk(self, serialized, value, shape, key)

    BaseJSONSerializer._serialize_type_structure = pass_through  # noqa: SLF001


def _copied(value: Any) -> Any:
    """Return a copy of a parsed expression. Pickle's is made in C, and `deepcopy`'s is not."""
    if not isinstance(value, Node):
        return deepcopy(value)
    return pickle.loads(_pickled(value))  # noqa: S301 (our own)


@lru_cache(maxsize=1024)
def _pickled(parsed: Node) -> bytes:
    return pickle.dumps(parsed, pickle.HIGHEST_PROTOCOL)


@lru_cache(maxsize=1024)
def _is_one_of(kind: type, classes: tuple[type, ...]) -> bool:
    return issubclass(kind, classes)


def _walked(self: Any, root: Any) -> Any:
    """Walk a tree as moto does: children first, and each node replaced by what is made of it."""
    classes = self.nodes_to_be_processed()

    def walk(node: Any, place: int) -> Any:
        kind: Any = type(node)  # mypy does not see that a type can be hashed
        if not _is_one_of(kind, (Node,)):
            return node
        parent = node.parent
        for number, child in enumerate(node.children or ()):
            self.pre_processing_of_child(node, number)
            walk(child, number)
        if _is_one_of(kind, classes):
            node = self.process(node)
            node.parent = parent
            if parent:
                parent.children[place] = node
        return node

    return walk(root, -1)


def _plain(value: dict[str, Any]) -> bool:
    """Return whether a value holds no binary data."""
    for kind, content in value.items():
        if kind in ("B", "BS"):
            return False
        if kind == "M" and not all(_plain(member) for member in content.values()):
            return False
        if kind == "L" and not all(_plain(member) for member in content):
            return False
    return True
