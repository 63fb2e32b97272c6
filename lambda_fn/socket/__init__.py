"""OpenAI's WebSocket mode of the Responses API: several responses at once on one connection.

`core` is the protocol without I/O. A carrier feeds it with the messages that come and does what it
says.
"""
