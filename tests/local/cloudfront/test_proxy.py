"""Requests that the edge passes on to an origin, and their responses."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from local.state import Distribution
from tests.support.distributions import config
from tests.support.edge import Site


async def test_forwards(site: Site) -> None:
    """Method, path, query, headers and body reach the origin, with the custom header.

    The response names the distribution.
    """
    async with site.session.post(
        URL(f"{site.url}/echo?a=%2F", encoded=True), data="body", headers={"Authorization": "B"}
    ) as response:
        forwarded = json.loads(await response.read())
        assert response.headers["X-Amz-Cf-Id"]
        assert "cloudfront.net" in response.headers["Via"]
    assert (forwarded["query"], forwarded["body"]) == ("a=%2F", "body")
    assert forwarded["headers"]["X-Secret"] == "s"
    assert forwarded["headers"]["Authorization"] == "B"


async def test_streams_without_buffering(site: Site) -> None:
    """The first part of a response arrives before the origin sends the second."""
    async with site.session.get(f"{site.url}/held") as response:
        assert await response.content.readany() == b"one"
        site.origin.release.set()
        assert await response.content.readany() == b"two"


async def test_uploads_without_buffering(site: Site) -> None:
    """The origin gets the first part of a body before the viewer sends the second."""

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        assert await site.origin.received == b"one"
        yield b"two"

    async with site.session.post(f"{site.url}/upload", data=body()) as response:
        assert await response.read() == b"two"


async def test_an_encoded_body_is_passed_on_as_it_is(site: Site) -> None:
    """An encoded body is passed on unchanged, whether its Content-Encoding is true or not."""
    for body in (gzip.compress(b"whole"), b"no gzip"):
        site.origin.received = asyncio.get_running_loop().create_future()
        async with site.session.post(
            f"{site.url}/upload", data=body, headers={"Content-Encoding": "gzip"}
        ) as response:
            assert response.status == 200
        assert await site.origin.received == body


async def test_files_are_compressed(site: Site) -> None:
    """A behaviour that compresses sends gzip to a viewer that takes it, and the text to others."""
    changed = config(
        site.origin_port, Compress=True, CachePolicyId="658327ea-f89d-4fab-a63d-7e88639e58f6"
    )
    await site.edge.apply((Distribution("E1", changed),), {})
    for method in ("GET", "HEAD"):
        async with site.session.request(
            method, f"{site.url}/file", headers={"Accept-Encoding": "gzip, br"}
        ) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Vary"] == "Accept-Encoding"
            assert response.headers["ETag"] == 'W/"1"'
            assert await response.text() == ("a line\n" * 1000 if method == "GET" else "")
    async with site.session.get(
        f"{site.url}/file", headers={"Accept-Encoding": "identity"}
    ) as response:
        assert "Content-Encoding" not in response.headers
        assert response.headers["ETag"] == '"1"'
        assert response.content_length == 7000


async def test_connections_are_kept(site: Site) -> None:
    """A viewer's connection carries several requests in turn, also after an error."""
    opened: list[object] = []

    async def count(*arguments: object) -> None:
        opened.append(arguments)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        for path in ("/echo", "/long-head", "/echo"):
            async with session.get(f"{site.url}{path}") as response:
                await response.read()
    assert len(opened) == 1


async def test_timeout_to_the_first_byte(site: Site) -> None:
    """An origin that does not respond in time is a 504."""
    await site.edge.apply((Distribution("E1", config(site.origin_port, read_s=0.1)),), {})
    async with site.session.get(f"{site.url}/silent") as response:
        assert response.status == 504
        assert "x-amz-cf-id" in response.headers


@pytest.mark.parametrize("path", ["/held", "/cut"])
async def test_broken_within_the_answer(site: Site, path: str) -> None:
    """If the origin stops after its first bytes, the viewer's connection is closed."""
    seconds = 4 if path == "/held" else 60
    await site.edge.apply((Distribution("E1", config(site.origin_port, read_s=seconds)),), {})
    async with site.session.get(f"{site.url}{path}") as response:
        assert response.status == 200
        assert await response.content.readany() == b"one"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_the_viewer_leaving_closes_the_origins_connection(site: Site) -> None:
    """If the viewer leaves, the request to the origin is ended."""
    async with site.session.get(f"{site.url}/held") as response:
        await response.content.readany()
        response.close()
    await asyncio.wait_for(site.origin.closed.wait(), 60)


async def test_methods(site: Site) -> None:
    """The edge answers 403 for a method that the behaviour does not allow."""
    await site.edge.apply(
        (Distribution("E1", config(site.origin_port, AllowedMethods=["GET", "HEAD"])),), {}
    )
    async with site.session.post(f"{site.url}/echo") as response:
        assert response.status == 403
        assert "cachable requests" in await response.text()


async def test_origins_that_are_not_there(site: Site) -> None:
    """An origin that refuses connections, or does not exist in the local cloud, is a 502."""
    await site.edge.apply((Distribution("E1", config(1)),), {})
    async with site.session.get(site.url) as response:
        assert response.status == 502
    changed = config()
    changed["Origins"][0]["DomainName"] = "example.com"
    await site.edge.apply((Distribution("E1", changed),), {})
    async with site.session.get(site.url) as response:
        assert response.status == 502
        assert "example.com" in await response.text()
