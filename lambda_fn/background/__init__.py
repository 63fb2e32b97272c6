"""The keeper of background responses: it starts those that wait, and ends those whose process died.

It is a separate function on the managed runtime, called by a schedule. Two runs at once, or one
that is killed half-way, do no harm: every step is a conditional write that can be repeated
(`lambda_fn.stream_log.queued`, `lambda_fn.stream_log.places`).
"""
