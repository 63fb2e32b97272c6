"""Checks what a caller guides a model's output by: JSON schemas and the patterns in them, before any engine sees them.

Engines turn a schema into a grammar in native code, where a few bytes can take all memory or all time. The stream
function and the container both call `check`, and `more_values` before they parse a body at all. The package is pure,
imports nothing but the standard library, never recurses, and its work is linear in the input and bounded by `limits`.
"""

from schema_guard.check import check
from schema_guard.errors import SchemaRefused
from schema_guard.values import bare, more_values

__all__ = ["SchemaRefused", "bare", "check", "more_values"]
