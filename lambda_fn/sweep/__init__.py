"""The sweeper: recovers requests of killed functions, and makes the rollups.

It is a separate function on the managed runtime, called by a schedule. Two sweeps at once, or one
that is killed half-way, do no harm: every step is a conditional write that can be repeated
(`lambda_fn.metering.settlements`).
"""
