"""The connection to a webhook on the developer's machine, which only the local cloud allows."""

import asyncio
from urllib.parse import urlsplit

from lambda_fn.http.connection import Connection


async def connect_locally(url: str, connection: Connection, host: str) -> None:
    """Connect to the port of a plain URL of this machine. Raises OSError."""
    port = urlsplit(url).port or 80
    await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
