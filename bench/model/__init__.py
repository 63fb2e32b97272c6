"""What the container's server costs: the engine alone against the same engine behind it."""
