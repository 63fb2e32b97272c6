"""Checks what a caller guides a model's output by: JSON schemas and the patterns in them, before any engine sees them.

Engines turn a schema into a grammar in native code, where a few bytes can take all memory or all time. The stream
function and the container both call `check`. The package is pure, imports nothing but the standard library, never
recurses, and its work is linear in the input and bounded by `limits`.
"""

from schema_guard.check import check
from schema_guard.errors import SchemaRefused

__all__ = ["SchemaRefused", "check"]
