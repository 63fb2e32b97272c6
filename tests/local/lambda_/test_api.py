"""lambda:Invoke over the wire, of a small package."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from local.faults.plan import Plan
from local.lambda_.aliases import Target
from local.lambda_.api import Invoker
from local.limits import Limits, value
from local.state import Alias
from tests.support.function_plane import FUNCTION, Plane, started


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Return the file that the function writes to."""
    return tmp_path / "mark"


@pytest.fixture
async def url(tmp_path: Path, mark: Path) -> AsyncIterator[tuple[Plane, str]]:
    """Yield a data plane and the address of its functions' API."""
    (tmp_path / "cloud").mkdir()
    environment = {**FUNCTION.environment, "MARK": str(mark)}
    async with started(tmp_path / "cloud", replace(FUNCTION, environment=environment)) as plane:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/2015-03-31/functions/{name}/invocations", plane.functions.invoke)
        async with TestServer(app) as server:
            yield plane, f"http://127.0.0.1:{server.port}/2015-03-31/functions"


def _end(mark: Path) -> None:
    mark.touch()


EVENT = {"X-Amz-Invocation-Type": "Event"}


async def test_event(url: tuple[Plane, str], mark: Path) -> None:
    """An event is accepted with a request id before the function has run, and runs then."""
    plane, address = url
    body = json.dumps({"rawPath": "/held"})
    async with plane.session.post(f"{address}/small/invocations", data=body, headers=EVENT) as it:
        assert (it.status, await it.read()) == (202, b"")
        assert it.headers["x-amzn-RequestId"]
    await plane.held(mark)
    _end(mark)
    await plane.at_rest()


async def test_event_of_an_alias(url: tuple[Plane, str], mark: Path) -> None:
    """An alias's event goes to its version. Another alias does not exist."""
    plane, address = url
    [function] = [pool.function for pool in plane.functions._pools.values()]
    version = replace(function, arn=f"{FUNCTION.arn}:1", version="1")
    alias = Alias(
        name="live",
        function="small",
        arn=f"{FUNCTION.arn}:live",
        weights={"1": 1.0},
        url=None,
        invoke_mode=None,
        auth_type=None,
        policy="",
        event_retries=0,
        event_age=60,
    )
    await plane.functions.apply((function, version), (alias,))
    target = plane.functions._addresses.named("small", "live")
    assert target is not None
    assert (target.function.event_retries, target.function.event_age) == (0, 60)
    body = json.dumps({"rawPath": "/held"})
    path = f"{address}/small:live/invocations"
    async with plane.session.post(path, data=body, headers=EVENT) as it:
        assert it.status == 202
    await plane.held(mark)
    _end(mark)
    path = f"{address}/small/invocations?Qualifier=other"
    async with plane.session.post(path, data=body, headers=EVENT) as it:
        assert it.status == 404


@pytest.mark.parametrize("refusal", [None, "may not"])
async def test_a_destination(refusal: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """What a function leaves is told to its destination if its role may invoke that."""
    asked: list[tuple[str, str]] = []
    events: list[tuple[str, bytes]] = []

    def refused(role: str, function: str) -> str | None:
        asked.append((role, function))
        return refusal

    invoker = Invoker(lambda _name, _qualifier: None, Plan(), Limits(), refused)
    invoker.later = lambda arn, event: events.append((arn, event))  # type: ignore[method-assign]
    failed = replace(FUNCTION, event_failure="arn:to")
    pool: Any = None
    invoker._tell(Target(pool, failed, "small"), b"{}")
    assert asked == [(FUNCTION.role, "arn:to")]
    assert events == ([("arn:to", b"{}")] if refusal is None else [])
    assert ("AccessDenied: may not" in caplog.text) == (refusal is not None)


async def test_too_large(url: tuple[Plane, str]) -> None:
    """An event over the limit of events is refused, which a synchronous invocation may have."""
    plane, address = url
    body = io.BytesIO(b'"' + b"x" * value("lambda_event") + b'"')
    async with plane.session.post(f"{address}/small/invocations", data=body, headers=EVENT) as it:
        assert it.status == 413
        assert it.headers["x-amzn-ErrorType"] == "RequestTooLargeException"
        assert "1048576 bytes" in await it.text()


async def test_dry_run(url: tuple[Plane, str]) -> None:
    """A dry run starts no environment."""
    plane, address = url
    dry = {"X-Amz-Invocation-Type": "DryRun"}
    async with plane.session.post(f"{address}/small/invocations", headers=dry) as it:
        assert it.status == 204
    assert plane.environments == []
