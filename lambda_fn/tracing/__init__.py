"""Traces: which one a request belongs to, and how its spans reach a collector.

`context` reads and writes W3C's headers, `otlp` encodes spans, `exporter` sends them. A stream
function without traces imports nothing of it. The sweeper encodes the figures of keys by `otlp`.
"""
