"""Fetches invocations and runs them in one event loop: one at a time, or several at once."""

import asyncio
import contextlib
import os
from contextvars import ContextVar
from typing import NoReturn

from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.runtime.api import RuntimeApi
from lambda_fn.runtime.cycle import App, Cycle
from lambda_fn.runtime.event import RUN, InvalidEvent, to_scope

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The X-Ray trace id of the invocation that the current task serves."""


async def serve(app: App, api: RuntimeApi, *, concurrency: int = 1) -> NoReturn:
    """Serve until the Runtime API does not respond.

    Args:
        app: An ASGI application.
        api: The source of invocations.
        concurrency: The maximum number of invocations at once.

    Raises:
        TransportError: the Runtime API does not respond. The process must end; Lambda starts
            another.

    """
    # When the Runtime API does not respond, each worker finishes its invocation, notices and ends.
    workers = (_serve_sequentially(app, api, alone=concurrency == 1) for _ in range(concurrency))
    errors = await asyncio.gather(*workers, return_exceptions=True)
    raise next(error for error in errors if error is not None)


async def _serve_sequentially(app: App, api: RuntimeApi, *, alone: bool) -> NoReturn:
    while True:
        context, event = await api.next()
        trace_id.set(context.trace_id)
        if alone:
            # Concurrent invocations share `os.environ`, so they have only the context variable.
            os.environ["_X_AMZN_TRACE_ID"] = context.trace_id
        try:
            scope, body = to_scope(event)
        except InvalidEvent as error:
            log("fault", aws_request_id=context.request_id, error=str(error))
            with contextlib.suppress(TransportError):
                await api.fail(context.request_id, "Runtime.InvalidEvent", str(error))
            continue
        cycle = Cycle(api, context, body)
        await (cycle.run_event if scope["type"] == RUN else cycle.run)(app, scope)
