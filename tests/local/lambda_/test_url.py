"""Requests to a function URL, and their responses."""

import asyncio
import base64
import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

from tests.support.function_plane import FUNCTION, HOST, Plane, started, with_variables


async def test_event_and_answer(plane: Plane) -> None:
    """The function gets the request, and the caller its status, headers, cookies and body."""
    async with plane.call(
        "/event?a=1", method="POST", data=b"\x00", headers={"X-B": "c"}
    ) as response:
        event = json.loads(await response.read())
        assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert response.headers["content-type"] == "text/plain"
    assert (event["rawPath"], event["rawQueryString"], event["headers"]["x-b"]) == (
        "/event",
        "a=1",
        "c",
    )
    assert base64.b64decode(event["body"]) == b"\x00"
    assert event["headers"]["host"] == HOST


async def test_chunks_arrive_as_they_are_written(plane: Plane, tmp_path: Path) -> None:
    """Each of five ticks arrives before the next one is written."""
    mark = tmp_path / "mark"
    mark.touch()
    await plane.functions.apply((with_variables(MARK=str(mark)),))
    async with plane.call("/ticks") as response:
        for number in range(5):
            assert await response.content.readany() == b"tick %d\n" % number
            mark.write_bytes(bytes(number + 1))


@pytest.mark.parametrize("path", ["/cut", "/exit"])
async def test_failures_within_the_answer_cut_the_connection(
    plane: Plane, tmp_path: Path, path: str
) -> None:
    """Error trailers, or a death during the response, break the client's connection."""
    mark = tmp_path / "mark"
    await plane.functions.apply((with_variables(MARK=str(mark)),))
    async with plane.call(path) as response:
        assert response.status == 200
        mark.touch()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert (await plane.text("/"))[0] == 200


async def test_buffered_answer(plane: Plane) -> None:
    """A buffered response works, too."""
    async with plane.call("/buffered") as response:
        assert (response.status, await response.text(), response.headers["x-a"]) == (
            201,
            "whole",
            "b",
        )


async def test_the_client_leaving_is_not_told(plane: Plane, tmp_path: Path) -> None:
    """If the client leaves, the function runs to its end."""
    mark = tmp_path / "mark"
    await plane.functions.apply(
        (replace(FUNCTION, environment={**FUNCTION.environment, "MARK": str(mark)}),)
    )
    async with plane.call("/big?300") as response:
        await response.content.readany()
        response.close()
    async with asyncio.timeout(60):
        while not mark.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)


async def test_other_refusals(plane: Plane) -> None:
    """A body over 6 MB is a 413. A URL that requires signed requests is a 403."""
    # The listener may close before everything was sent.
    with contextlib.suppress(aiohttp.ClientOSError):
        assert (await plane.text("/", method="POST", data=io.BytesIO(bytes(6 * 2**20 + 1))))[
            0
        ] == 413
    await plane.functions.apply((replace(FUNCTION, auth_type="AWS_IAM"),))
    assert (await plane.text("/"))[0] == 403


async def test_bandwidth_after_the_first_6_mb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first 6 MB pass at once, and the rest at 2 MB a second."""
    clock = 0.0
    late: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        late.append(clock)
        await asyncio.sleep(0)

    loop = SimpleNamespace(time=lambda: clock)
    monkeypatch.setattr(
        "local.lambda_.url.asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: loop)
    )
    async with started(tmp_path, with_variables(MARK=str(tmp_path / "mark"))) as plane:
        async with plane.call("/big?256") as response:  # 16 MB
            assert len(await response.read()) == 16 * 2**20
        assert late[-1] == pytest.approx(10 / 2)
