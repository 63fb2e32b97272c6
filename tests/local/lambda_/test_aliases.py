"""Versions and aliases of a function, called by the alias's URL."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from local.lambda_.aliases import AddressBook
from local.state import Alias, Function
from tests.support.function_plane import FUNCTION, HOST, Plane, with_variables

LATEST = replace(FUNCTION, url=None, invoke_mode=None, auth_type=None)


def version(number: str, **variables: str) -> Function:
    """Return a published version whose variable VERSION is its number."""
    function = with_variables(VERSION=number, **variables)
    return replace(function, arn=f"{FUNCTION.arn}:{number}", version=number, url=None)


def alias(**weights: float) -> Alias:
    """Return the alias `live` with the function's URL; `weights` are `v1=0.9`."""
    return Alias(
        name="live",
        function=FUNCTION.name,
        arn=f"{FUNCTION.arn}:live",
        weights={name[1:]: weight for name, weight in weights.items()},
        url=FUNCTION.url,
        invoke_mode=FUNCTION.invoke_mode,
        auth_type=FUNCTION.auth_type,
        policy=FUNCTION.policy,
    )


async def serving(plane: Plane) -> str:
    """Return the version that answers a request."""
    _, text = await plane.text("/environment")
    variables = json.loads(text)["variables"]
    assert variables["AWS_LAMBDA_FUNCTION_VERSION"] == variables["VERSION"]
    return str(variables["VERSION"])


async def test_a_stream_ends_on_the_version_that_it_began_on(plane: Plane, tmp_path: Path) -> None:
    """When the alias moves, new requests reach the new version, and running ones go on."""
    mark = tmp_path / "mark"
    versions = (LATEST, version("1", MARK=str(mark)), version("2"))
    await plane.functions.apply(versions, (alias(v1=1.0),))
    slow = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    await plane.functions.apply(versions, (alias(v2=1.0),))
    assert await serving(plane) == "2"
    mark.touch()
    assert (await slow)[0] == 200
    async with asyncio.timeout(60):
        while plane.functions.status()[0]["versions"] != ["2"]:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)


async def test_versions_share_the_reserved_concurrency(plane: Plane, tmp_path: Path) -> None:
    """An invocation of one version takes a place that another one then lacks."""
    mark = tmp_path / "mark"
    versions = [
        replace(one, reserved_concurrency=1)
        for one in (LATEST, version("1", MARK=str(mark)), version("2"))
    ]
    await plane.functions.apply(tuple(versions), (alias(v1=1.0),))
    slow = asyncio.create_task(plane.text("/held"))
    await plane.held(mark)
    await plane.functions.apply(tuple(versions), (alias(v2=1.0),))
    assert (await plane.text("/environment"))[0] == 429
    mark.touch()
    assert (await slow)[0] == 200


def data(plane: Plane) -> list[dict[str, Any]]:
    """Return the data of all metrics that were sent."""
    return [one for it in plane.control.metrics for one in it["data"]]


async def test_failures_are_counted_by_version(plane: Plane) -> None:
    """A crash is an error and a 5xx of the function, of its alias, and of the version."""
    await plane.functions.apply((LATEST, version("1")), (alias(v1=1.0),))
    assert (await plane.text("/crash"))[0] == 502
    async with asyncio.timeout(60):
        while {"Errors", "Url5xxCount"} - {it["MetricName"] for it in data(plane)}:  # noqa: ASYNC110 - sent in batches
            await asyncio.sleep(0.02)
    assert {it["namespace"] for it in plane.control.metrics} == {"AWS/Lambda"}
    for name in ("Errors", "Url5xxCount"):
        found = [it["Dimensions"] for it in data(plane) if it["MetricName"] == name]
        values = sorted(([part["Value"] for part in one] for one in found), key=len)
        assert values == [["small"], ["small", "small:live"], ["small", "small:live", "1"]]


def test_an_alias_of_two_versions_uses_both() -> None:
    """Each version gets its share, and an unknown name has no target."""
    from local.lambda_.pool import Pool

    pools = [Pool(one, None) for one in (LATEST, version("1"), version("2"))]  # type: ignore[arg-type]
    book = AddressBook()
    book.update(pools, [alias(v1=0.5, v2=0.5)])
    found = {target.function.version for _ in range(200) if (target := book.at(HOST))}
    assert found == {"1", "2"}
    named = book.named("small", "2")
    assert named is not None
    assert named.function.version == "2"
    assert book.named("small", "other") is book.named("other") is book.at("other") is None
