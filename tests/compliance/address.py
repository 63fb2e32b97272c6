"""One address for HTTP and for sockets.

The suite derives the address of its sockets from that of HTTP. A deployment has two: that of its
distribution, and API Gateway's. OpenAI's clients take both.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

_PASSED = ("authorization", "content-type")


class _Joined:
    """Passes requests on to the distribution, and sockets to the gateway."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, sockets: str) -> None:
        self._session = session
        self._origin = origin
        self._sockets = sockets

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._socket(request)
        sent = {name: request.headers[name] for name in _PASSED if name in request.headers}
        async with self._session.request(
            request.method, self._origin + request.path_qs, headers=sent, data=await request.read()
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.headers["content-type"] = answer.headers["content-type"]
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        sent = {"authorization": request.headers["authorization"]}
        async with self._session.ws_connect(self._sockets, headers=sent) as theirs:
            ours = web.WebSocketResponse()
            await ours.prepare(request)
            back = asyncio.create_task(_pass(theirs, ours))
            await _pass(ours, theirs)
            await theirs.close()
            await back
            return ours


async def _pass(
    source: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
    target: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
) -> None:
    """Pass texts on until the source closes, and close the target."""
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT and not target.closed:
            await target.send_str(message.data)
    await target.close()


@asynccontextmanager
async def joined(origin: str, sockets: str) -> AsyncIterator[str]:
    """Serve both addresses at one on loopback, and yield that."""
    async with aiohttp.ClientSession() as session:
        app = web.Application(client_max_size=2**23)
        app.router.add_route("*", "/{path:.*}", _Joined(session, origin, sockets).__call__)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
