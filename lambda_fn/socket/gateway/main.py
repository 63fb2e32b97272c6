"""The entry of the socket function."""

import sys

from lambda_fn.socket.gateway.app import Gateway
from lambda_fn.socket.gateway.serving import serve
from lambda_fn.stream.process import run_in_loop, serve_with


async def run() -> int:
    """Serve until the Runtime API is gone, and return the exit status."""
    return await serve_with(Gateway, serve)


if __name__ == "__main__":
    sys.exit(run_in_loop(run()))
