"""A call of the runtime API whose caller leaves."""

import logging
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from local.limits import Limits
from local.sagemaker import invoke


@pytest.mark.parametrize("method", ["prepare", "write", "write_eof"])
async def test_a_caller_that_left_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """A caller that leaves while its stream is written is logged, and is no error."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"a line\n")

    async def gone(*_: Any) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    application = web.Application()
    application.router.add_post("/invocations", answer)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        instance: Any = SimpleNamespace(
            port=server.port, headers={}, variant=SimpleNamespace(name="v"), kill=None
        )
        serving: Any = SimpleNamespace(invoked=lambda *_: None)
        request = make_mocked_request("POST", "/endpoints/e/invocations-response-stream")
        broken = dict.fromkeys(("prepare", "write", "write_eof"), nothing) | {method: gone}
        stream = type("Stream", (web.StreamResponse,), broken)
        monkeypatch.setattr(invoke, "web", SimpleNamespace(StreamResponse=stream))
        with caplog.at_level(logging.INFO):
            await invoke._call(request, b"{}", instance, serving, session, None, Limits())

    assert [record.levelname for record in caplog.records if record.name == "local.sagemaker"] == [
        "INFO"
    ]


async def nothing(*_: Any) -> None:
    """Discard the bytes."""
