"""The keeper is told that a background response has ended, if there is a webhook."""

import dataclasses
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lambda_fn.http.client import Client
from lambda_fn.runtime.event import ended_event
from lambda_fn.settings import Background, Model, Settings
from lambda_fn.stream.endings import tell_end
from tests.support.function import CREDENTIALS

SETTINGS = Settings(
    region="eu-west-1",
    usage_table="usage",
    models={"m": Model(endpoint="e", context_tokens=100)},
    origin_secrets=("s",),
    dynamodb_url="",
    sagemaker_url="",
)


@pytest.mark.parametrize(
    ("tells", "status", "told"),
    [(None, 202, False), ("the-keeper", 202, True), ("the-keeper", 403, True)],
)
async def test_tell_end(
    http: Client,
    capsys: pytest.CaptureFixture[str],
    tells: str | None,
    status: int,
    told: bool,
) -> None:
    """It is called by its name, and finds the end by itself if it cannot be called."""
    calls: list[tuple[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        calls.append((request.path, await request.json()))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    async with TestServer(app) as server:
        settings = dataclasses.replace(
            SETTINGS,
            background=Background(tells=tells),
            lambda_url=f"http://127.0.0.1:{server.port}",
        )
        assert await tell_end(settings, http, lambda: CREDENTIALS, "01abc", "key") is told
    path = "/2015-03-31/functions/the-keeper/invocations"
    assert calls == ([(path, ended_event("01abc", "key"))] if tells else [])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [it["event"] for it in lines] == ([] if status == 202 else ["end_untold"])
