"""The keeper's handler: with its schedule's event, and with that of a response that has ended."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lambda_fn.aws.dynamodb import Table
from lambda_fn.background.handler import KeepingFailed, handler
from lambda_fn.encode import Head
from lambda_fn.events import End
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.runtime.event import ended_event, run_event
from lambda_fn.settings import SettingsError
from lambda_fn.stream_log import places
from lambda_fn.stream_log.heads import Ending, StoredHead, end_update, open_head, win
from tests.support.function import BOTO, CREDENTIALS

NOW = float(int(time.time()))


class Context:
    """An invocation with some seconds left."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function is killed."""
        return 50_000


class Services:
    """Lambda and the webhook, which keep what they get."""

    def __init__(self) -> None:
        """Accept everything."""
        self.invoked: list[tuple[str, Any]] = []
        self.told: list[Any] = []
        self.status = 200

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a call."""
        content = await request.json()
        if request.path.startswith("/2015"):
            self.invoked.append((request.path, content))
            return web.Response(status=202)
        self.told.append(content)
        return web.Response(status=self.status)


@pytest.fixture
async def services(
    moto_url: str, streams: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Services]:
    """Yield the stand-ins. The variables of the deployment and of Lambda are set."""
    stand_ins = Services()
    app = web.Application()
    app.router.add_post("/{path:.*}", stand_ins.handle)
    with closing(boto3.client("secretsmanager", endpoint_url=moto_url, **BOTO)) as api:
        secret = api.create_secret(Name=f"webhook-{streams.name}", SecretString="text")
    async with TestServer(app) as server:
        variables = {
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": moto_url,
            "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{server.port}",
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_SECRET_ACCESS_KEY": "SECRET",
            "AWS_SESSION_TOKEN": "",
            "SLUICE_STREAM_TABLE": streams.name,
            "SLUICE_STREAM_FUNCTION": "stream:live",
            "SLUICE_DEPLOYMENT": "sluice-test",
            "SLUICE_WEBHOOK": f"http://localhost:{server.port}/hook",
            "SLUICE_WEBHOOK_SECRET": secret["ARN"],
            "SLUICE_PRIVATE_WEBHOOK": "true",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield stand_ins


@pytest.fixture
def kept_table(moto_url: str, http: Client, streams: Any) -> Table:
    """Return StreamTable as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


async def queued(table: Table, **changes: Any) -> StoredHead:
    """Put a background response with its place."""
    name = new_request_id()
    fields: dict[str, Any] = {
        "head": Head(name, int(NOW), "m"),
        "owner": "key",
        "status": "queued",
        "created": int(NOW),
        "expires": int(NOW) + 10**9,
        "kept": "result",
        "endpoint": "e",
        "dialect": "sluice",
        "starter": "s",
        "until": NOW + 10**9,
        "writer": "w",
    }
    head = StoredHead(**{**fields, **changes})
    await open_head(table, head)
    await places.take(table, "key", name, "f", maximum=9, expires=9, now=NOW)
    return head


async def invoke(event: Any) -> dict[str, Any]:
    """Invoke the handler in a thread, because it starts an event loop."""
    return await asyncio.to_thread(handler, event, Context())


async def end(table: Table, head: StoredHead) -> None:
    """End a response."""
    ending = Ending(status="completed", event=End(), by="w", now=NOW)
    update = end_update(head.response_id, ending, "#status = :was", {":was": head.status})
    await win(table, update, ending)


async def test_the_schedule(
    services: Services, kept_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    """It calls the stream function's alias for what waits, and says how much it did."""
    head = await queued(kept_table)
    counts = await invoke({"detail-type": "Scheduled Event"})
    assert counts == {"freed": 0, "waiting": 1, "started": 1, "told": 0}
    [(path, event)] = services.invoked
    assert path == "/2015-03-31/functions/stream:live/invocations"
    assert event == run_event(head.response_id)
    [line] = [json.loads(it) for it in capsys.readouterr().out.splitlines()]
    assert (line["event"], line["started"]) == ("background", 1)
    assert (await invoke({}))["started"] == 0
    assert capsys.readouterr().out == ""


async def test_an_end_is_told(services: Services, kept_table: Table) -> None:
    """The webhook is called, and the place is given back, once."""
    head = await queued(kept_table)
    assert await invoke(ended_event(head.response_id, "key")) == {
        "freed": 0,
        "waiting": 0,
        "started": 0,
        "told": 0,
    }
    await end(kept_table, head)
    counts = await invoke(ended_event(head.response_id, "key"))
    assert (counts["freed"], counts["told"]) == (1, 1)
    assert services.told[0]["data"] == {"id": f"resp_{head.response_id}"}
    assert services.told[0]["type"] == "response.completed"
    await invoke({})
    assert len(services.told) == 1
    assert [it async for it in places.every(kept_table)] == []


async def test_an_end_whose_call_was_lost(services: Services, kept_table: Table) -> None:
    """The schedule finds it, and repeats a call that failed only when its time has come."""
    head = await queued(kept_table)
    await end(kept_table, head)
    services.status = 500
    assert (await invoke({}))["told"] == 0
    assert (await invoke({}))["told"] == 0
    assert len(services.told) == 1


async def test_a_secret_that_is_not_there(
    services: Services, kept_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails, and the end stays noted."""
    head = await queued(kept_table)
    await end(kept_table, head)
    monkeypatch.setenv("SLUICE_WEBHOOK_SECRET", "none")
    with pytest.raises(KeepingFailed):
        await invoke({})
    assert services.told == []


@pytest.mark.usefixtures("services")
async def test_a_missing_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is missing is named."""
    monkeypatch.delenv("SLUICE_STREAM_FUNCTION")
    with pytest.raises(SettingsError, match="SLUICE_STREAM_FUNCTION"):
        await invoke({})
