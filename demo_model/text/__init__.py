"""The text the demo model is taught, written by a seeded generator: one module a kind of exchange.

An exchange is a list of turns ``(user, assistant)`` that belong together; `conversations` strings
exchanges together.
"""
