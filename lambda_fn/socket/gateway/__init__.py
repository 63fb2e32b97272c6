"""The carrier of sockets on API Gateway: each message of a socket is an invocation of its own.

What a socket knows is an item, which conditional writes change. So it does not matter which
environment gets which message, in what order they come, and how often.
"""
