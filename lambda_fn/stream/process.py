"""The process of a function of the public API: reads the environment, and serves an application."""

import gc
import os
from collections.abc import Awaitable, Callable
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
    gc.set_threshold(10_000, 20, 20)
    gc.freeze()  # modules stay, so the collector need not examine them
    api = RuntimeApi(address, one_connection=settings.one_connection)
    try:
        await serve(app, api, concurrency)
    except TransportError as error:
        log("fault", error=str(error))
    return 1
