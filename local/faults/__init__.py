"""Faults on demand.

A plan decides which request a fault strikes. One module for each place carries the fault out.
"""
