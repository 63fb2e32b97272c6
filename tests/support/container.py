"""A stand-in for the model container. The request, or its environment, tells it what to do.

Request: {"chunks": [str...], "gap_s": float, "status": int, "die": bool}

It writes each chunk separately. With `die` it ends its process after the last one. `HOLD` in place
of a chunk waits for a second request with the body "release".
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from aiohttp import web

from local.trust import callers

released = asyncio.Event()
closed: list[str] = []


def _weights() -> list[str]:
    return sorted(path.name for path in Path(os.environ["SLUICE_MODEL_DIR"]).iterdir())


async def ping(_request: web.Request) -> web.Response:
    """Answer that the container is healthy, unless it was told otherwise."""
    return web.Response(status=200 if os.environ.get("HEALTH", "good") == "good" else 503)


async def invocations(request: web.Request) -> web.StreamResponse:
    """Follow the request's instructions."""
    body = await request.read()
    if body == b"release":
        released.set()
        return web.Response(text="released")
    if body == b"environment":
        return web.json_response({"environment": dict(os.environ), "files": _weights()})
    if body == b"closed":
        return web.json_response(closed)
    told = json.loads(body)
    if told.get("silent"):
        os._exit(7)
    if told.get("status", 200) >= 400:
        return web.Response(status=told["status"], text=told.get("text", "it failed"))
    response = web.StreamResponse(headers={"Content-Type": "application/jsonlines"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        for chunk in told["chunks"]:
            if chunk == "HOLD":
                await released.wait()
                continue
            await response.write(chunk.encode())
            await asyncio.sleep(told.get("gap_s", 0))
    except (ConnectionError, asyncio.CancelledError):
        closed.append("closed")
        raise
    if told.get("die"):
        await asyncio.sleep(0.05)
        os._exit(9)
    await response.write_eof()
    return response


def main() -> None:
    """Serve on SAGEMAKER_BIND_TO_PORT."""
    if "REFUSE" in os.environ:
        sys.exit(f"container: {os.environ['REFUSE']}")
    app = web.Application(middlewares=[callers(os.environ["SLUICE_CALLER_TOKEN"])])
    app.router.add_get("/ping", ping)
    app.router.add_post("/invocations", invocations)
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    web.run_app(app, host="127.0.0.1", port=port, print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
