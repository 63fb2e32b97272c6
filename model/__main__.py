"""`python -m model serve`: what SageMaker runs in the container."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvicorn

from model.app import create_app
from model.engines import create
from model.errors import StartError
from model.generation import Generation
from model.settings import Settings

# SageMaker kills a container 30 s after SIGTERM.
GRACE_SECONDS = 20


async def serve(settings: Settings) -> None:
    """Load the model, then listen until SIGTERM. Raises StartError."""
    engine = create(settings)
    try:
        await engine.start()
        generation = Generation(
            engine,
            parallel=settings.parallel,
            queue=settings.queue,
            tokens_per_second=settings.tokens_per_second,
        )
        config = uvicorn.Config(
            create_app(generation, settings.model_name),
            host=settings.host,
            port=settings.port,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=75,  # longer than callers keep idle connections, so that they are the ones to close
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        print(
            f"model: serving {settings.model_name} with {settings.engine} on port {settings.port}",
            file=sys.stderr,
            flush=True,
        )
        # uvicorn raises the signal that stopped it once more when it is done: then the engine is still to be closed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        await uvicorn.Server(config).serve()
    finally:
        await engine.close()


def main(arguments: list[str]) -> int:
    """The exit code: 0 after a shutdown, 1 if it could not start, 2 for wrong arguments."""
    if arguments != ["serve"]:
        print("usage: python -m model serve", file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(Settings.from_environment(os.environ)))
    except StartError as error:
        print(f"model: cannot start: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
