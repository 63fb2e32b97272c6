"""The seeded generator of the training text: one module for each kind of exchange.

An exchange is a list of turns ``(user, assistant)`` that belong together. `conversations` joins
exchanges into conversations.
"""
