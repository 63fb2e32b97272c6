"""Finds the values that a member of a request may have, for the message of an error."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import inspect

_STEP = re.compile(r"\[|[^.\[\]]+(?=[.\[]|$)")
"""An element of an array or a value of an object (`[0]`, `[...]`), or the name of a member."""


def choices_at(kind: Any, path: str) -> tuple[str | int | None, ...]:
    """Return the values that the member at a path of msgspec may have.

    The result is empty if the member has no list of values, or if the types of a union have
    different ones.

    Args:
        kind: The type of the whole request.
        path: The path as msgspec writes it, such as `messages[0].role`.

    """
    found = [_described(kind)]
    for step in _STEP.findall(path):
        found = [inner for outer in found for inner in _inside(outer, step)]
    members = [each for one in found for each in _members(one)]
    lists = {tuple(each.values) for each in members if isinstance(each, inspect.LiteralType)}
    return lists.pop() if len(lists) == 1 else ()


@cache
def _described(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _members(one: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the types of a union, or the type itself."""
    if isinstance(one, inspect.UnionType):
        for each in one.types:
            yield from _members(each)
    else:
        yield one


def _inside(outer: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """Yield the types of what is one step further on."""
    for each in _members(outer):
        if isinstance(each, inspect.StructType):
            yield from (field.type for field in each.fields if field.encode_name == step)
        elif step == "[" and isinstance(each, inspect.DictType):
            yield each.value_type
        elif step == "[" and isinstance(each, inspect.ListType):
            yield each.item_type
