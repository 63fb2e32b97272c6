"""The cost of the container's server: the engine alone against the engine behind the server."""
