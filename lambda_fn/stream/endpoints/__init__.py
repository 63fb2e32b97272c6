"""The endpoints of the public API other than the completions."""
