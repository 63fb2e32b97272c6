"""The carrier of sockets on API Gateway: each message of a socket is an invocation of its own.

The state of a socket is an item, which is changed by conditional writes. So any environment may get
any message, in any order, and more than once.
"""
