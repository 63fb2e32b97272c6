"""The entry of the function that opens and closes sockets, and cancels."""

import asyncio
import sys

from lambda_fn.socket.gateway.control import Control
from lambda_fn.socket.gateway.serving import serve
from lambda_fn.stream.process import serve_with


async def run() -> int:
    """Serve until the Runtime API is gone, and return the exit status."""
    return await serve_with(Control, serve)


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
