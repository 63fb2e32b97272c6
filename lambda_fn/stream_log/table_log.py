"""Writes the log of one response to StreamTable. See `event_log.EventLog`."""
