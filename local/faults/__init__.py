"""Faults on demand: a plan decides which request is struck, and one module for each place carries
it out.
"""
