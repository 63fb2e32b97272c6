"""Limits what llama.cpp's own grammars follow at once, by the size of the model's vocabulary.

At a step whose first token the grammar rejects, llama.cpp compares every token of the vocabulary
with every alternative. So a step of a vocabulary of 131,072 tokens takes 64 times that of 2,048.
"""

from collections.abc import Iterable

from schema_guard import limits
from schema_guard.limits import Limit
from schema_guard.live import Live, constants
from schema_guard.walk import Walk

_ADVICE = (
    "make several tools of it, name more properties in 'required', or ask for the call by "
    "tool_choice"
)


def check_vocabulary(walk: Walk, same: Iterable[int], live: Live, tokens: int) -> None:
    """Check the counts of a schema for a model whose vocabulary has `tokens` tokens.

    In `same` each node comes after the nodes that describe the same value.

    Raises SchemaRefused.
    """
    for index, count in enumerate(live.branches):
        _within(walk, index, limits.COMPARED, count, tokens)
    branches = [0] * len(walk.nodes)
    for index in same:
        node = walk.nodes[index]
        parts = [branches[each] for each in node.same]
        count = sum(parts) if parts else int(constants(node.fields) is None)
        branches[index] = count
        if node.any_of:
            _within(walk, index, limits.COMPARED_BRANCHES, count, tokens)


def _within(walk: Walk, index: int, limit: Limit, count: int, tokens: int) -> None:
    most = max(1, limit.most // tokens)
    if count > most:
        what = (
            "branches that are no constants"
            if limit is limits.COMPARED_BRANCHES
            else ("alternatives that are open at once")
        )
        walk.refuse(
            index,
            f"has more than {most:,} {what}, the most for this model, whose vocabulary has "
            f"{tokens:,} tokens: {_ADVICE}",
        )
