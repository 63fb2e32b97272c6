"""The environments of a function: reuse, concurrency, and their end."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from local.lambda_ import pool
from local.lambda_.environment import Environment
from local.lambda_.response import FunctionError
from tests.support.function_plane import FUNCTION, Plane, started, with_variables


async def test_killed_by_its_credentials(plane: Plane, tmp_path: Path) -> None:
    """A fault kills the environment that has an access key during its work, and no other one."""
    mark = tmp_path / "mark"
    mark.touch()
    await plane.functions.apply((with_variables(MARK=str(mark)),))
    async with plane.call("/ticks") as response:
        await response.content.readany()
        assert not plane.functions.kill("another")
        assert plane.functions.kill("AK")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_warm_reuse_and_one_environment_for_each_concurrent_call(
    plane: Plane, tmp_path: Path
) -> None:
    """Calls in turn share a process. Each concurrent call has its own."""
    mark = tmp_path / "mark"
    await plane.functions.apply((with_variables(MARK=str(mark)),))
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
        async with plane.call("/held") as response:
            await response.read()
            return str(response.headers["x-pid"])

    calls = [asyncio.create_task(pid()) for _ in range(3)]
    await plane.held(mark, 3)
    mark.touch()
    assert len(set(await asyncio.gather(*calls))) == 3
    assert plane.functions.status()[0]["environments"] >= 3


async def test_reserved_concurrency(plane: Plane, tmp_path: Path) -> None:
    """A call over the reserved concurrency is a 429. Later calls are not."""
    mark = tmp_path / "mark"
    await plane.functions.apply((replace(with_variables(MARK=str(mark)), reserved_concurrency=1),))
    first = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    assert (await plane.text("/"))[0] == 429
    mark.touch()
    assert (await first)[0] == 200
    assert (await plane.text("/"))[0] == 200


async def test_rest_is_when_no_invocation_runs(plane: Plane, tmp_path: Path) -> None:
    """It is awaited for some time only. An environment that is killed has no invocation."""
    mark = tmp_path / "mark"
    await plane.functions.apply((with_variables(MARK=str(mark)),))
    await plane.functions.rest(60)
    first = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    await plane.functions.rest(0.05)
    resting = asyncio.create_task(plane.functions.rest(60))
    await asyncio.sleep(0)
    assert not first.done()
    mark.touch()
    await resting
    assert (await first)[0] == 200
    assert all(one.at_rest for one in plane.environments)
    mark.unlink()
    second = asyncio.create_task(plane.text("/held"))
    await plane.held(mark, 2)
    resting = asyncio.create_task(plane.functions.rest(60))
    await asyncio.sleep(0)
    assert plane.functions.kill("AK")
    async with asyncio.timeout(30):
        await resting
    assert (await second)[0] == 502


async def test_rest_does_not_wait_for_a_start_that_fails(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invocation that waited for it has ended."""
    await plane.functions.apply((FUNCTION,))
    begun, may = asyncio.Event(), asyncio.Event()

    async def start(_: object) -> None:
        begun.set()
        await may.wait()
        raise FunctionError("Runtime.InitError", "no")

    monkeypatch.setattr(Environment, "start", start)
    first = asyncio.create_task(plane.text("/"))
    await begun.wait()
    resting = asyncio.create_task(plane.functions.rest(60))
    await asyncio.sleep(0)
    assert not resting.done()
    may.set()
    async with asyncio.timeout(30):
        await resting
    assert (await first)[0] == 502


async def test_idle_environments_are_stopped(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that was idle for a while is stopped."""
    monkeypatch.setattr(pool, "IDLE_S", 0.1)
    await plane.text("/")
    async with asyncio.timeout(60):
        while plane.functions.status()[0]["environments"]:  # noqa: ASYNC110 - a timer's work
            await asyncio.sleep(0.02)


async def test_account_concurrency(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a reserved concurrency, the account's limit applies: 429."""
    mark = tmp_path / "mark"
    await plane.functions.apply((with_variables(MARK=str(mark)),))
    (pool,) = plane.functions._pools.values()
    assert pool._limit == 1000
    monkeypatch.setattr("local.lambda_.pool.value", {"lambda_account_concurrency": 1}.__getitem__)
    first = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    assert (await plane.text("/"))[0] == 429
    mark.touch()
    assert (await first)[0] == 200


async def test_several_invocations_in_one_environment(tmp_path: Path) -> None:
    """With a concurrency of four, four concurrent calls share one process. A fifth gets another."""
    mark = tmp_path / "mark"
    async with started(tmp_path, with_variables(MARK=str(mark)), concurrency=4) as plane:

        async def pid() -> str:
            async with plane.call("/held") as response:
                await response.read()
                return str(response.headers["x-pid"])

        calls = [asyncio.create_task(pid()) for _ in range(5)]
        await plane.held(mark, 5)
        mark.touch()
        pids = await asyncio.gather(*calls)
        assert sorted(pids.count(one) for one in set(pids)) == [1, 4]
        _, text = await plane.text("/environment")
        assert json.loads(text)["variables"]["AWS_LAMBDA_MAX_CONCURRENCY"] == "4"


async def test_concurrency_of_the_function_itself(tmp_path: Path) -> None:
    """A function on a capacity provider sets the concurrency of its environments itself."""
    async with started(tmp_path, replace(FUNCTION, concurrency=8), concurrency=2) as plane:
        _, text = await plane.text("/environment")
        assert json.loads(text)["variables"]["AWS_LAMBDA_MAX_CONCURRENCY"] == "8"
