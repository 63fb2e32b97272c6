"""HTTP over asyncio: connections, a client and responses."""
