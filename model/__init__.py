"""The inference container."""
