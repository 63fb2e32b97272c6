"""The check of all schemas of one request."""

from collections.abc import Iterable
from typing import Any

from schema_guard.errors import Step
from schema_guard.graph import check_graph
from schema_guard.walk import Totals, Walk


def check(schemas: Iterable[tuple[tuple[Step, ...], Any]]) -> None:
    """Check the schemas of a request, each with the steps to its place there, as `("tools", 0, "parameters")`.

    Raises:
        SchemaRefused: one of them, or all together, cannot be given to an engine; it names the member.

    """
    totals = Totals()
    for place, schema in schemas:
        check_graph(Walk(place, schema, totals))
