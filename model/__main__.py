"""`python -m model serve` is what SageMaker runs in the container.

`python -m model settings` prints its settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, TypeVar

from model import output
from model.answers import Timing
from model.app import create_app
from model.engines import create
from model.errors import StartError
from model.generation import Generation
from model.server import CLOSE_SECONDS, Front, Server, listen
from model.settings import Settings, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from model.engines.base import Engine

T = TypeVar("T")

# How long /ping reports why the container cannot start before the process ends. This also limits
# how often a supervisor restarts it.
LINGER_SECONDS = 10.0


async def serve(environment: Mapping[str, str]) -> int:
    """Listen, load the model and answer until SIGTERM; return the exit code.

    The code is 0 after SIGTERM and 1 if the container could not start.
    """
    try:
        settings = Settings.from_environment(environment)
    except StartError as error:
        return await _refuse(error, _listening(environment))
    asyncio.get_running_loop().set_exception_handler(output.log_unhandled)
    server = Server(
        Front("the engine is starting", settings.caller_token), listen(settings.host, settings.port)
    )
    serving = asyncio.create_task(server.run_until_stopped())
    engine: Engine | None = None
    native: str | None = None
    try:
        engine = create(settings)
        if not await _unless(serving, engine.start()):
            return 0  # the process was told to stop during the load
        generation = Generation(engine, settings)
        timing = Timing(slow_reader=settings.slow_reader_seconds)
        server.front.app = create_app(generation, settings.models, timing)
        server.drain = generation.drain
        native = output.loaded()
        if native is not None:
            output.say(f"what native code writes from now on is in {native}")
        output.say(f"serving {settings.model_name} with {settings.engine} on port {settings.port}")
        await serving
        return 0
    except StartError as error:
        return await _refuse(error, server, serving)
    finally:
        output.remove(native)
        if engine is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(engine.close(), CLOSE_SECONDS)


def _listening(environment: Mapping[str, str]) -> Server:
    """Return a server on the address in `environment`, or on the default one if that is invalid."""
    names = ("SLUICE_CALLER_TOKEN", "SLUICE_HOST", "SAGEMAKER_BIND_TO_PORT")
    place = {name: environment[name] for name in names if name in environment}
    try:
        settings = Settings.from_environment(place)
    except StartError:
        settings = Settings()
    return Server(Front("", settings.caller_token), listen(settings.host, settings.port))


async def _refuse(
    error: StartError, server: Server, serving: asyncio.Task[None] | None = None
) -> int:
    """Report the reason on stderr, and at /ping for `LINGER_SECONDS`. Return the exit code."""
    output.say(f"cannot start: {error}")
    server.front.reason = f"cannot start: {error}"
    task = serving or asyncio.create_task(server.run_until_stopped())
    await asyncio.wait({task}, timeout=LINGER_SECONDS)
    server.should_exit = True
    await task
    return 1


async def _unless(serving: asyncio.Task[None], work: Awaitable[None]) -> bool:
    """Wait for `work`; return false if the server ends first."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({serving, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
        return True
    task.cancel()
    return False


def main(arguments: list[str]) -> int:
    """Run a command; return the exit code.

    The code is 0 after a shutdown, 1 if the container could not start, 2 for wrong arguments.
    """
    if arguments == ["settings"]:
        print(table(), end="")
        return 0
    if arguments != ["serve"]:
        print("usage: python -m model serve|settings", file=sys.stderr)
        return 2
    output.capture()
    try:
        # asyncio.run would wait for threads, and one may still be loading weights.
        code = asyncio.new_event_loop().run_until_complete(serve(os.environ))
    except StartError as error:
        output.say(f"cannot start: {error}")
        code = 1
    return code


def run() -> None:
    """End the process with the exit code of `main`, even if an engine has left threads behind."""
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
