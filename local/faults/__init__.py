"""Faults on demand: a plan that decides, and one file for each place that carries its decisions out."""
