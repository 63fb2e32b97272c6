"""The life of an execution environment: frozen, thawed, killed at a limit, and logged."""

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from local import listeners
from local.lambda_ import runtime_connection
from local.limits import Limits
from local.state import Schedule
from tests.support.function_plane import FUNCTION, Plane, started, with_variables


async def _until(plane: Plane, *states: str) -> list[str]:
    """Wait until each of `states` is in some log line. Return all lines."""
    async with asyncio.timeout(60):
        while True:
            lines = [line["message"] for line in plane.control.lines]
            if all(any(re.search(state, line) for line in lines) for state in states):
                return lines
            await asyncio.sleep(0.02)


async def test_background_work_stops_while_idle(plane: Plane, tmp_path: Path) -> None:
    """A thread of the function stops between invocations, and goes on in the next one."""
    mark = tmp_path / "mark"
    await plane.functions.apply((with_variables(MARK=str(mark)),))
    assert (await plane.text("/background"))[0] == 200
    await plane.at_rest()
    (environment,) = plane.environments
    assert environment._process is not None
    pid = environment._process.pid
    async with asyncio.timeout(60):
        while _states(pid) - {"T"}:  # noqa: ASYNC110 - the kernel stops thread by thread
            await asyncio.sleep(0.005)
    size = mark.stat().st_size
    await asyncio.sleep(0.2)
    assert mark.stat().st_size == size
    async with asyncio.timeout(60):
        while mark.stat().st_size == size:
            assert (await plane.text("/sleep?0.2"))[0] == 200


def _states(pid: int) -> set[str]:
    """Return the states of a process's threads: T is stopped. Without /proc there are none."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return {thread.read_text().rpartition(")")[2].split()[0] for thread in threads}


async def test_peers_drop_the_idle_connections_of_a_frozen_environment(tmp_path: Path) -> None:
    """After a freeze, the peer has closed a pooled connection."""
    app = web.Application()
    sock = listeners.bind([0])
    runner = await listeners.serve(
        app, sock, cancel=True, idle_s=Limits(100).seconds("idle_connection")
    )
    async with started(tmp_path) as plane:
        port = sock.getsockname()[1]
        assert (await plane.text(f"/connect?{port}"))[0] == 200
        await _until(plane, "peer answered")
        await plane.at_rest()
        assert runner.server is not None
        async with asyncio.timeout(60):
            while runner.server.connections:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.02)
        await plane.text("/send")
        await _until(plane, "peer closed")
    await runner.cleanup()


@pytest.mark.parametrize("path", ["/sleep?30", "/stall"])
async def test_deadline(tmp_path: Path, path: str) -> None:
    """At its deadline a function is killed.

    That is a 502 before its response, and a broken connection within it. The log says so.
    """
    limits = Limits()
    async with started(tmp_path, limits=limits) as plane:
        await plane.text("/")
        await plane.at_rest()
        limits.time_scale = 4  # a machine that is busy writes the head of /stall in time
        (environment,) = plane.environments
        async with plane.call(path) as response:
            assert response.status == (200 if path == "/stall" else 502)
            if path == "/stall":
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
        await _until(plane, r"Task timed out after 20\.00 seconds", r"REPORT .*Status: timeout")
        assert environment not in plane.environments


async def test_memory(tmp_path: Path) -> None:
    """A function that exceeds its memory is killed. The response is a 502, and the log says so."""
    async with started(tmp_path, replace(FUNCTION, memory=128)) as plane:
        assert (await plane.text("/memory?200"))[0] == 502
        await _until(
            plane,
            r"REPORT .*Max Memory Used: 128 MB\tInit Duration: .*Error Type: Runtime\.OutOfMemory",
        )
        assert (await plane.text("/"))[0] == 200


async def test_memory_of_children(tmp_path: Path) -> None:
    """The memory of a function's child processes counts, too."""
    async with started(tmp_path, replace(FUNCTION, memory=160)) as plane:
        assert (await plane.text("/child-memory?150"))[0] == 502
        await _until(plane, r"Error Type: Runtime\.OutOfMemory")


async def test_slow_initialisation_is_made_again(tmp_path: Path) -> None:
    """An initialisation over 10 s is killed, and begins again within the function's own time."""
    mark = tmp_path / "mark"
    function = replace(with_variables(INIT="slow", MARK=str(mark)), timeout=60)
    async with started(tmp_path, function, limits=Limits(2)) as plane:
        assert (await plane.text("/"))[0] == 200
        await _until(plane, "INIT_REPORT .*Phase: init\tStatus: timeout")


@pytest.mark.parametrize(
    ("path", "line"), [("/next", "told .*403"), ("/mode", "REPORT .*InvalidResponseModeHeader")]
)
async def test_violations_of_the_runtime_api(plane: Plane, path: str, line: str) -> None:
    """A fetch without a response, and an unknown response mode, are rejected.

    The caller gets 502.
    """
    assert (await plane.text(path))[0] == 502
    await _until(plane, line)
    assert (await plane.text("/"))[0] == 200


async def test_buffered_response_over_6_mb(plane: Plane) -> None:
    """A buffered response over 6 MB is a 502."""
    assert (await plane.text("/large"))[0] == 502


async def test_streamed_response_over_200_mb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A streamed response is cut off after 200 MB.

    The test lowers the limit to 20 MB, with the function's whole time for it.
    """
    assert runtime_connection._MAX_STREAMED == 200 * 2**20
    monkeypatch.setattr(runtime_connection, "_MAX_STREAMED", 20 * 2**20)
    function = replace(with_variables(MARK=str(tmp_path / "mark")), timeout=900)
    limits = Limits()
    async with started(tmp_path, function, limits=limits) as plane:
        await plane.text("/")
        limits.time_scale = 20
        size = 0

        async def read(response: aiohttp.ClientResponse) -> None:
            nonlocal size
            async for data in response.content.iter_any():
                size += len(data)

        async with plane.call("/big?330") as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await read(response)
        assert 19 * 2**20 < size <= 20 * 2**20


async def test_log_lines(plane: Plane) -> None:
    """The log has START, the output, END and REPORT in order.

    It is in the function's group and the environment's stream.
    """
    await plane.text("/print?hello")
    await plane.at_rest()
    await plane.text("/print?again")
    lines = await _until(plane, "^hello", "^again")
    lines = await _until(plane, *["^REPORT"] * 2, "REPORT (?!.*Init)")
    kinds = [line.split()[0] for line in lines]
    assert kinds == [
        "starting",
        "START",
        "hello",
        "END",
        "REPORT",
        "START",
        "again",
        "END",
        "REPORT",
    ]
    report = re.compile(
        r"REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: "
        r"256 MB\t"
        r"Max Memory Used: [1-9]\d* MB\t(Init Duration: [\d.]+ ms\t)?"
    )
    first, second = (report.fullmatch(line) for line in lines if line.startswith("REPORT"))
    assert first is not None
    assert second is not None
    assert first[1]
    assert not second[1]
    assert {line["group"] for line in plane.control.lines} == {"/aws/lambda/small"}
    assert re.fullmatch(
        r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", plane.control.lines[0]["stream"]
    )
    assert len({line["stream"] for line in plane.control.lines}) == 1


async def test_json_log_format(tmp_path: Path) -> None:
    """With the JSON log format the platform's lines are events, in the function's own group."""
    async with started(tmp_path, replace(FUNCTION, log_format="JSON", log_group="own")) as plane:
        await plane.text("/")
        lines = await _until(plane, "platform.report")
        [report] = [json.loads(line) for line in lines if "platform.report" in line]
        assert report["record"]["status"] == "success"
        assert {
            "durationMs",
            "billedDurationMs",
            "memorySizeMB",
            "maxMemoryUsedMB",
            "initDurationMs",
        } == set(report["record"]["metrics"])
        assert plane.control.lines[0]["group"] == "own"


async def test_schedules(plane: Plane) -> None:
    """A schedule invokes its function at the time scale, with its input or the service's event."""
    schedules = plane.functions._schedules
    schedules._limits = Limits(200)
    rule = "arn:aws:events:us-east-1:123456789012:rule/every"
    event = {"rawPath": "/print", "rawQueryString": "scheduled"}
    never = {"rawPath": "/print", "rawQueryString": "disabled"}
    plane.functions.schedule(
        (
            Schedule(rule, "rate(1 minute)", True, FUNCTION.arn, json.dumps(event)),
            Schedule(f"{rule}-off", "rate(1 minute)", False, FUNCTION.arn, json.dumps(never)),
        )
    )
    assert "disabled" not in await _until(plane, "^scheduled$")


async def test_frozen_environments_can_be_stopped(plane: Plane) -> None:
    """If a function is deleted, its frozen processes are killed."""
    async with plane.call("/") as response:
        pid = int(response.headers["x-pid"])
        await response.read()
    await plane.at_rest()
    assert all(one.frozen for one in plane.environments)
    await plane.functions.apply(())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
