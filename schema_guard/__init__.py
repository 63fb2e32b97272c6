"""Checks the inputs that engines read in native code: JSON schemas, and arguments of calls.

Engines turn a schema into a grammar in native code, where a few bytes can take all memory or all
time. The stream function and the container both call `check`, and `arguments_text` for each call of
a conversation. Before they parse a body, they call `more_values`. The package is pure, imports
nothing but the standard library, and never recurses. Its work is linear in the input and bounded by
`limits`.
"""

from collections.abc import Iterable
from typing import Any

from schema_guard.arguments import ArgumentsRefused, arguments_text
from schema_guard.errors import SchemaRefused, Step
from schema_guard.graph import check_graph
from schema_guard.nodes import Totals
from schema_guard.plain import Guide, plain
from schema_guard.values import bare, more_values
from schema_guard.walk import Walk

__all__ = [
    "ArgumentsRefused",
    "Guide",
    "SchemaRefused",
    "arguments_text",
    "bare",
    "check",
    "more_values",
    "plain",
]


def check(
    schemas: Iterable[tuple[tuple[Step, ...], Any]],
    *,
    by: Guide = "llama.cpp",
    tokens: int = 0,
) -> None:
    """Check all schemas of a request.

    Args:
        schemas: Each schema, after the steps to its place, such as `("tools", 0, "parameters")`.
        by: The code that will guide the answer. llama.cpp's own converter guides calls of tools
            that the model may call. llguidance guides the form of an answer, and calls that the
            model must make; it accepts more. `plain` writes schemas for each.
        tokens: The size of the model's vocabulary, with which llama.cpp compares alternatives. 0
            if it is not known.

    Raises:
        SchemaRefused: an engine must not get one of the schemas, or not all of them together. The
            error names the member.

    """
    totals = Totals(lenient=by == "llguidance")
    for place, schema in schemas:
        check_graph(Walk(place, schema, totals), tokens)


def check_plain(
    schemas: Iterable[tuple[tuple[Step, ...], Any]], *, by: Guide, tokens: int = 0
) -> None:
    """Check the schemas of a request as `plain` writes them. The arguments and errors are those of
    `check`.
    """
    check(((place, plain(schema, by=by)) for place, schema in schemas), by=by, tokens=tokens)
