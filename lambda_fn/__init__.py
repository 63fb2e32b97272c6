"""The three functions, each in a room: `stream` serves the public API, `control` the admin API, and
`sweep` recovers what killed functions left. What they share stands beside them.
"""
