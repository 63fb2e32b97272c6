"""The stream function's entry."""

import sys

from lambda_fn.stream.app import create_app
from lambda_fn.stream.process import run_in_loop, serve_app


async def run() -> int:
    """Serve until the Runtime API is gone, and return the exit status."""
    return await serve_app(create_app)


if __name__ == "__main__":
    sys.exit(run_in_loop(run()))
