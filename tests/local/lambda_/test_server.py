"""Functions as processes of a small hand-written package, called by their URL."""

import asyncio
import base64
import contextlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from local.lambda_ import pool
from local.state import Function
from tests.support.function_plane import FUNCTION, HOST, Plane


async def test_environment_is_as_on_aws(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has the deployed variables and AWS's own, and a bare interpreter.

    It has nothing of the developer's environment.
    """
    monkeypatch.setenv("DEVELOPERS_OWN", "secret")
    status, text = await plane.text("/environment")
    found = json.loads(text)
    variables = found["variables"]
    code = variables["LAMBDA_TASK_ROOT"]
    assert status == 200
    assert "DEVELOPERS_OWN" not in variables
    assert variables["OWN"] == "value"
    assert variables["AWS_LAMBDA_EXEC_WRAPPER"] == f"{code}/bootstrap"
    assert variables["AWS_ACCESS_KEY_ID"] == "AK"
    assert variables["AWS_SESSION_TOKEN"] == "ST"
    assert variables["AWS_ENDPOINT_URL"] == "http://localhost:1"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["_HANDLER"] == "a.b"
    assert ".venv" not in found["executable"]
    assert int(found["headers"]["Lambda-Runtime-Deadline-Ms"]) > 0


async def test_event_and_answer(plane: Plane) -> None:
    """The function gets the request, and the caller its status, headers, cookies and body."""
    async with plane.call(
        "/event?a=1", method="POST", data=b"\x00", headers={"X-B": "c"}
    ) as answer:
        event = json.loads(await answer.read())
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert answer.headers["content-type"] == "text/plain"
    assert (event["rawPath"], event["rawQueryString"], event["headers"]["x-b"]) == (
        "/event",
        "a=1",
        "c",
    )
    assert base64.b64decode(event["body"]) == b"\x00"
    assert event["headers"]["host"] == HOST


async def test_killed_by_its_credentials(plane: Plane, tmp_path: Path) -> None:
    """A fault kills the environment that has an access key during its work, and no other one."""
    mark = tmp_path / "mark"
    mark.touch()
    await plane.functions.apply((_with(MARK=str(mark)),))
    async with plane.call("/ticks") as answer:
        await answer.content.readany()
        assert not plane.functions.kill("another")
        assert plane.functions.kill("AK")
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()


def _with(**environment: str) -> Function:
    return replace(FUNCTION, environment={**FUNCTION.environment, **environment})


async def test_chunks_arrive_as_they_are_written(plane: Plane, tmp_path: Path) -> None:
    """Each of five ticks arrives before the next one is written."""
    mark = tmp_path / "mark"
    mark.touch()
    await plane.functions.apply((_with(MARK=str(mark)),))
    async with plane.call("/ticks") as answer:
        for number in range(5):
            assert await answer.content.readany() == b"tick %d\n" % number
            mark.write_bytes(bytes(number + 1))


async def test_warm_reuse_and_one_environment_for_each_concurrent_call(
    plane: Plane, tmp_path: Path
) -> None:
    """Calls in turn share a process. Each concurrent call has its own."""
    mark = tmp_path / "mark"
    await plane.functions.apply((_with(MARK=str(mark)),))
    pids = []
    for _ in range(
        6
    ):  # an environment that has answered may still be finishing when the next call comes
        async with plane.call("/") as answer:
            await answer.read()
            pids.append(answer.headers["x-pid"])
        await plane.at_rest()
    assert pids[0] == pids[1]

    async def pid() -> str:
        async with plane.call("/held") as answer:
            await answer.read()
            return str(answer.headers["x-pid"])

    calls = [asyncio.create_task(pid()) for _ in range(3)]
    await plane.held(mark, 3)
    mark.touch()
    assert len(set(await asyncio.gather(*calls))) == 3
    assert plane.functions.status()[0]["environments"] >= 3


async def test_reserved_concurrency(plane: Plane, tmp_path: Path) -> None:
    """A call over the reserved concurrency is a 429. Later calls are not."""
    mark = tmp_path / "mark"
    await plane.functions.apply((replace(_with(MARK=str(mark)), reserved_concurrency=1),))
    first = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    assert (await plane.text("/"))[0] == 429
    mark.touch()
    assert (await first)[0] == 200
    assert (await plane.text("/"))[0] == 200


@pytest.mark.parametrize("path", ["/crash", "/error"])
async def test_failures_before_the_answer(plane: Plane, path: str) -> None:
    """A crash or an error is a 502, and the next call succeeds."""
    assert await plane.text(path) == (502, '{"Message": "Internal Server Error"}')
    assert (await plane.text("/"))[0] == 200


@pytest.mark.parametrize("path", ["/cut", "/exit"])
async def test_failures_within_the_answer_cut_the_connection(
    plane: Plane, tmp_path: Path, path: str
) -> None:
    """Error trailers, or a death during the response, break the client's connection."""
    mark = tmp_path / "mark"
    await plane.functions.apply((_with(MARK=str(mark)),))
    async with plane.call(path) as answer:
        assert answer.status == 200
        mark.touch()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert (await plane.text("/"))[0] == 200


@pytest.mark.parametrize("how", ["exit", "error"])
async def test_failed_initialisation(plane: Plane, how: str) -> None:
    """A runtime that cannot start is a 502. The log has the reason."""
    await plane.functions.apply(
        (replace(FUNCTION, environment={**FUNCTION.environment, "INIT": how}),)
    )
    assert (await plane.text("/"))[0] == 502


async def test_timeout(plane: Plane) -> None:
    """A function that exceeds its timeout is killed, and the call is a 502."""
    await plane.functions.apply((replace(FUNCTION, timeout=2),))
    assert (await plane.text("/sleep?30"))[0] == 502
    await plane.functions.apply((FUNCTION,))
    assert (await plane.text("/"))[0] == 200


async def test_buffered_answer(plane: Plane) -> None:
    """A buffered response works, too."""
    async with plane.call("/buffered") as answer:
        assert (answer.status, await answer.text(), answer.headers["x-a"]) == (201, "whole", "b")


async def test_the_client_leaving_is_not_told(plane: Plane, tmp_path: Path) -> None:
    """If the client leaves, the function runs to its end."""
    mark = tmp_path / "mark"
    await plane.functions.apply(
        (replace(FUNCTION, environment={**FUNCTION.environment, "MARK": str(mark)}),)
    )
    async with plane.call("/big?300") as answer:
        await answer.content.readany()
        answer.close()
    async with asyncio.timeout(60):
        while not mark.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)


async def test_new_environment_variables_take_effect(plane: Plane, tmp_path: Path) -> None:
    """After a change of the configuration, calls go to new processes. Old ones finish."""
    mark = tmp_path / "mark"
    await plane.functions.apply((_with(MARK=str(mark)),))
    slow = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    await plane.functions.apply((_with(OWN="new"),))
    _, text = await plane.text("/environment")
    assert json.loads(text)["variables"]["OWN"] == "new"
    mark.touch()
    assert (await slow)[0] == 200


async def test_deleted_function(plane: Plane) -> None:
    """The processes of a deleted function are stopped, and its URL is removed."""
    async with plane.call("/") as answer:
        pid = int(answer.headers["x-pid"])
    await plane.functions.apply(())
    assert (await plane.text("/"))[0] == 404
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_idle_environments_are_stopped(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that was idle for a while is stopped."""
    monkeypatch.setattr(pool, "IDLE_S", 0.1)
    await plane.text("/")
    async with asyncio.timeout(60):
        while plane.functions.status()[0]["environments"]:  # noqa: ASYNC110 - a timer's work
            await asyncio.sleep(0.02)


async def test_functions_of_other_runtimes_are_refused_clearly(plane: Plane) -> None:
    """A function with a runtime other than Python is rejected, and the message says why."""
    await plane.functions.apply((replace(FUNCTION, environment={}, runtime="nodejs24.x"),))
    status, text = await plane.text("/")
    assert status == 501
    assert "nodejs24.x" in text


async def test_other_refusals(plane: Plane) -> None:
    """A body over 6 MB is a 413. A URL that requires signed requests is a 403."""
    # The listener may close before everything was sent.
    with contextlib.suppress(aiohttp.ClientOSError):
        assert (await plane.text("/", method="POST", data=io.BytesIO(bytes(6 * 2**20 + 1))))[
            0
        ] == 413
    await plane.functions.apply((replace(FUNCTION, auth_type="AWS_IAM"),))
    assert (await plane.text("/"))[0] == 403


async def test_standard_output_is_the_log(plane: Plane) -> None:
    """The function's log file has what the process prints."""
    await plane.text("/")
    log = plane.directory / "logs" / "function-small.log"
    async with asyncio.timeout(60):
        while "starting" not in log.read_text():  # noqa: ASYNC110 - it comes through a pipe
            await asyncio.sleep(0.02)
