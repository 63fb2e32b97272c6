"""Stacks: they compose constructs and grant between them, nothing else."""
