"""The socket function's entry."""

import asyncio
import contextlib
import sys

import msgspec

from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.runtime.api import RuntimeApi
from lambda_fn.socket.gateway.app import Gateway
from lambda_fn.socket.gateway.messages import InvalidEvent
from lambda_fn.stream.process import serve_with


async def serve(gateway: Gateway, api: RuntimeApi, concurrency: int) -> None:
    """Serve invocations until the Runtime API does not respond. Raises TransportError."""
    workers = (_serve_sequentially(gateway, api) for _ in range(concurrency))
    errors = await asyncio.gather(*workers, return_exceptions=True)
    raise next(error for error in errors if error is not None)


async def _serve_sequentially(gateway: Gateway, api: RuntimeApi) -> None:
    while True:
        context, event = await api.next()
        try:
            result = await gateway.answer(event, context)
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


async def run() -> int:
    """Serve until the Runtime API is gone, and return the exit status."""
    return await serve_with(Gateway, serve)


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
