"""The three functions, each in its own package: `stream` serves the public API, `control` the admin
API, and `sweep` recovers what killed functions left. The other modules and packages are shared.
"""
