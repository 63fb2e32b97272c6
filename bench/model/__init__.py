"""The cost of the container's server: the engine alone against the same engine behind the
server.
"""
