"""Functions as processes of a small hand-written package, called by their URL."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.function_plane import FUNCTION, Plane, with_variables


@pytest.mark.parametrize("path", ["/crash", "/error"])
async def test_failures_before_the_answer(plane: Plane, path: str) -> None:
    """A crash or an error is a 502, and the next call succeeds."""
    assert await plane.text(path) == (502, '{"Message": "Internal Server Error"}')
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


async def test_new_environment_variables_take_effect(plane: Plane, tmp_path: Path) -> None:
    """After a change of the configuration, calls go to new processes. Old ones finish."""
    mark = tmp_path / "mark"
    await plane.functions.apply((with_variables(MARK=str(mark)),))
    slow = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    await plane.functions.apply((with_variables(OWN="new"),))
    _, text = await plane.text("/environment")
    assert json.loads(text)["variables"]["OWN"] == "new"
    mark.touch()
    assert (await slow)[0] == 200


async def test_deleted_function(plane: Plane) -> None:
    """The processes of a deleted function are stopped, and its URL is removed."""
    async with plane.call("/") as response:
        pid = int(response.headers["x-pid"])
    await plane.functions.apply(())
    assert (await plane.text("/"))[0] == 404
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_standard_output_is_the_log(plane: Plane) -> None:
    """The function's log file has what the process prints."""
    await plane.text("/")
    log = plane.directory / "logs" / "function-small.log"
    async with asyncio.timeout(60):
        while "starting" not in log.read_text():  # noqa: ASYNC110 - it comes through a pipe
            await asyncio.sleep(0.02)
