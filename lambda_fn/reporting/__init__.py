"""The read side of the meter: rollups, usage, reconciliation and replay."""
