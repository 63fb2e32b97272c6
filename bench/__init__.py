"""Benchmarks. They print figures, and do not judge them."""
