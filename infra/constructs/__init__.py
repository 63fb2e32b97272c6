"""Constructs, one a file, each with its own keyword-only properties."""
