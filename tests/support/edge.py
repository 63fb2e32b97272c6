"""A distribution of the edge in front of an origin, and a client of it."""

import asyncio

import aiohttp
from aiohttp import web

from local.cloudfront.server import Edge


class Origin:
    """An origin whose behaviour the path selects."""

    def __init__(self) -> None:
        """Begin without requests."""
        self.closed = asyncio.Event()
        self.release = asyncio.Event()
        self.received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        if request.path == "/echo":
            body = await request.text()
            return web.json_response(
                {
                    "headers": dict(request.headers),
                    "query": request.raw_path.partition("?")[2],
                    "body": body,
                }
            )
        if request.path == "/upload":
            self.received.set_result(await request.content.readany())
            return web.Response(body=await request.content.read())
        if request.path == "/file":
            return web.Response(text="a line\n" * 1000, headers={"ETag": '"1"'})
        if request.path == "/long-head":
            return web.Response(headers={"x-long": "l" * 20_480})
        if request.path == "/silent":
            await self.release.wait()
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            await response.write(b"one")
            if request.path == "/held":
                await self.release.wait()
            if request.path == "/cut":
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(b"two")
            await response.write_eof()
        except asyncio.CancelledError:
            self.closed.set()
            raise
        return response


class Site:
    """An origin, a distribution in front of it, and a client."""

    def __init__(
        self, origin: Origin, edge: Edge, session: aiohttp.ClientSession, origin_port: int
    ) -> None:
        """Take a distribution that has started."""
        self.origin, self.edge, self.session, self.origin_port = origin, edge, session, origin_port
        self.url = edge.status()[0]["url"]
