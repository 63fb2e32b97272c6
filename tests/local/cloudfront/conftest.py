"""Fixtures of the edge."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from local import listeners
from local.cloudfront.server import Edge
from local.state import Distribution
from tests.support.distributions import config
from tests.support.edge import Origin, Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Yield a site whose timeouts every origin can keep."""
    origin = Origin()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", origin.handle)
    sock = listeners.bind([0])
    runner = await listeners.serve(app, sock, cancel=True, longest_head=65_536)
    port = sock.getsockname()[1]
    edge = Edge(lambda: 0)
    await edge.start()
    await edge.apply((Distribution("E1", config(port)),), {})
    async with aiohttp.ClientSession(max_field_size=65_536, max_line_size=65_536) as session:
        yield Site(origin, edge, session, port)
    await edge.stop()
    await runner.cleanup()
