"""The check of all schemas of one request."""

from collections.abc import Iterable
from typing import Any, Literal

from schema_guard.errors import Step
from schema_guard.graph import check_graph
from schema_guard.walk import Totals, Walk


def check(
    schemas: Iterable[tuple[tuple[Step, ...], Any]], *, by: Literal["llama.cpp", "llguidance"] = "llama.cpp"
) -> None:
    """Check the schemas of a request, each with the steps to its place there, as `("tools", 0, "parameters")`.

    `by` says what will guide: llama.cpp's own converter, as for tools that the model may call as it likes, or
    llguidance, as for the form of an answer and for calls that must be made. The latter takes more.

    Raises:
        SchemaRefused: one of them, or all together, cannot be given to an engine; it names the member.

    """
    totals = Totals(lenient=by == "llguidance")
    for place, schema in schemas:
        check_graph(Walk(place, schema, totals))
