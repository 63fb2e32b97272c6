"""Stacks. They compose constructs and grant rights between them, and do nothing else."""
