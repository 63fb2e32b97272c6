"""The endpoints of the public API beside the completions."""
