"""Serves the events of sockets: one after another, in the two functions of sockets."""

import asyncio
import contextlib

import msgspec

from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.runtime.api import RuntimeApi
from lambda_fn.socket.gateway.control import Control
from lambda_fn.socket.gateway.messages import InvalidEvent


async def serve(control: Control, api: RuntimeApi, concurrency: int) -> None:
    """Serve invocations until the Runtime API does not respond. Raises TransportError."""
    workers = (_serve_sequentially(control, api) for _ in range(concurrency))
    errors = await asyncio.gather(*workers, return_exceptions=True)
    raise next(error for error in errors if error is not None)


async def _serve_sequentially(control: Control, api: RuntimeApi) -> None:
    while True:
        context, event = await api.next()
        try:
            result = await control.answer(event, context)
        except InvalidEvent as error:
            log("fault", aws_request_id=context.request_id, error=str(error))
            with contextlib.suppress(TransportError):
                await api.fail(context.request_id, "Runtime.InvalidEvent", str(error))
            continue
        except Exception as error:  # noqa: BLE001 - the process serves further invocations
            log("fault", aws_request_id=context.request_id, error=type(error).__name__)
            with contextlib.suppress(TransportError):
                await api.fail(context.request_id, "Runtime.Failed", type(error).__name__)
            continue
        await api.reply(context.request_id, msgspec.json.encode(result))
