"""The runtime, with a Runtime API that records every byte."""

import asyncio
import gc
import json
from typing import Any

import pytest

from lambda_fn.http.connection import TransportError
from lambda_fn.runtime.api import RuntimeApi
from lambda_fn.runtime.loop import serve
from tests.support.runtime_api import EVENT, Lambda, hello


async def test_many_invocations_in_one_process(lambda_: Lambda) -> None:
    """With a concurrency of three, three invocations are fetched and served at once."""
    together = asyncio.Barrier(3)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await together.wait()
        await hello(scope, receive, send)

    server = asyncio.ensure_future(serve(app, RuntimeApi(lambda_.address), concurrency=3))
    async with asyncio.timeout(60):
        for _ in range(3):
            lambda_.events.put_nowait(json.dumps(EVENT).encode())
        for _ in range(3):
            assert (await lambda_.requests.get())[0].endswith("/response")
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


async def test_runtime_api_that_is_gone() -> None:
    """Without a Runtime API the loop ends, and the process with it."""
    with pytest.raises(TransportError):
        await serve(hello, RuntimeApi("127.0.0.1:9"))


async def test_one_lost_error_stops_no_other_invocation(lambda_: Lambda) -> None:
    """If the Runtime API does not accept one invocation's error, the others are finished."""
    lambda_.refuse_errors = True
    failed, finished = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raise":
            failed.set()
            raise ValueError("x")
        await failed.wait()
        await lambda_.refused.wait()
        await hello(scope, receive, send)
        finished.set()

    server = asyncio.ensure_future(serve(app, RuntimeApi(lambda_.address), concurrency=2))
    async with asyncio.timeout(60):
        lambda_.events.put_nowait(json.dumps(EVENT).encode())
        lambda_.events.put_nowait(json.dumps({**EVENT, "rawPath": "/raise"}).encode())
        await finished.wait()
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


async def test_init_error_is_reported(lambda_: Lambda, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with an invalid setting reports it to /init/error, and ends.

    The report does not have the value.
    """
    from lambda_fn.stream.main import run as run_main

    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", lambda_.address)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("SLUICE_MODELS", '{"m": "secret"}')
    async with asyncio.timeout(60):
        assert await run_main() == 1
        path, packets = await lambda_.requests.get()
    assert path == "/2018-06-01/runtime/init/error"
    assert b"SLUICE_MODELS" in packets[-1]
    assert b"secret" not in b"".join(packets)


async def test_a_setting_that_cannot_be_read_is_logged(
    lambda_: Lambda, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function that can serve some of its models starts, and logs why it serves no others."""
    from lambda_fn.stream import main, process

    models = {"m": {"endpoint": "e", "context_tokens": 9}, "big": {"endpoint": "e"}}
    for name, value in {
        "AWS_LAMBDA_RUNTIME_API": lambda_.address,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "SLUICE_USAGE_TABLE": "t",
        "SLUICE_ORIGIN_SECRET": "s",
        "SLUICE_MODELS": json.dumps(models),
    }.items():
        monkeypatch.setenv(name, value)

    async def served(*_: object, **__: object) -> None:
        raise TransportError("the Runtime API is gone")

    monkeypatch.setattr(process, "serve", served)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    assert await main.run() == 1
    first, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["event"] == "fault"
    assert first["error"].startswith("other_models=big: needs endpoint, context_tokens")
    assert last["error"] == "the Runtime API is gone"
