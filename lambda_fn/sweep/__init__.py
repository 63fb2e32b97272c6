"""The sweeper: brings to an end what killed functions left open, and makes the rollups.

A function of its own on the managed runtime, called by a schedule. Two at once, or one that is killed half-way, do no
harm: every step is a conditional write that may be made again (`lambda_fn.metering.settlements`).
"""
