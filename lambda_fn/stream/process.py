"""The process of a function of the public API: reads the environment, and serves an application."""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from starlette.types import ASGIApp

from lambda_fn import limits
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client, tls_context
from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.runtime.api import RuntimeApi
from lambda_fn.runtime.loop import serve
from lambda_fn.settings import Settings, SettingsError

_T = TypeVar("_T")
_CONTAINERS = 500
"""Added to the threshold of the garbage collector for each concurrent request, which has some 230
objects that it tracks. Otherwise it runs while many requests begin at once, frees nothing, and
takes 13 % of their CPU.
"""


def run_in_loop(main: Coroutine[object, object, _T]) -> _T:
    """Run the process's main coroutine, and return its result.

    The event loop is uvloop's if `SLUICE_EVENT_LOOP` says so. The package has uvloop then
    (docs/decisions/0060-uvloop-by-setting.md). It is not imported otherwise.
    """
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    if os.environ.get("SLUICE_EVENT_LOOP") == "uvloop":
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


async def serve_app(
    create_app: Callable[[Settings, Client, Callable[[], Credentials]], ASGIApp],
) -> int:
    """Serve an application until the Runtime API is gone, and return the exit status."""

    async def serve_requests(app: ASGIApp, api: RuntimeApi, concurrency: int) -> None:
        await serve(app, api, concurrency=concurrency)

    return await serve_with(create_app, serve_requests)


async def serve_with(
    create: Callable[[Settings, Client, Callable[[], Credentials]], _T],
    serve: Callable[[_T, RuntimeApi, int], Awaitable[None]],
) -> int:
    """Serve what `create` makes until the Runtime API is gone, and return the exit status.

    `serve` takes it, the source of invocations, and how many it may take at once. It raises
    TransportError when the Runtime API is gone.
    """
    address = os.environ["AWS_LAMBDA_RUNTIME_API"]
    try:
        limits.check()
        settings = Settings.from_environment(os.environ)
        concurrency = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY") or "1")
        if settings.sagemaker_url.startswith("https:"):
            tls_context()  # now, when a cold start has most CPU, and not before the first token
    except (SettingsError, ValueError) as error:
        log("fault", error=str(error))
        await RuntimeApi(address).fail_init("Runtime.InvalidSettings", str(error))
        return 1
    for name, reason in settings.unreadable.items():
        log("fault", error=f"other_models={name}: {reason}; this model is not served")
    # The credentials do not change while the process runs.
    credentials = Credentials.from_environment(os.environ)
    app = create(settings, Client(), lambda: credentials)
    # A request leaves few cycles. By default the collector would run some 15 times in a request.
    gc.set_threshold(10_000 + _CONTAINERS * concurrency, 20, 20)
    gc.freeze()  # modules stay, so the collector need not examine them
    api = RuntimeApi(address, one_connection=settings.one_connection)
    try:
        await serve(app, api, concurrency)
    except TransportError as error:
        log("fault", error=str(error))
    return 1
