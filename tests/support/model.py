"""Engines, and the container's application over a real server on loopback."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from model.app import create_app
from model.connection import Connection
from model.engines import create
from model.generation import Generation
from model.schema import ChatRequest
from model.settings import Settings
from tests.support import vllm_stand_in

if TYPE_CHECKING:
    from model.answers import Timing
    from model.engines.base import Engine

vllm_stand_in.install()
WEIGHTS = Path(__file__).parents[2] / "demo_model" / "weights"


def scripted(**script: Any) -> dict[str, Any]:
    """Return a request body that has a script for the scripted engine."""
    return {"messages": [{"role": "user", "content": json.dumps(script)}]}


def asked(body: dict[str, Any], **more: Any) -> ChatRequest:
    """Return a body as a checked request."""
    return ChatRequest.model_validate_json(json.dumps({**body, **more}))


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll until a condition holds. It is for conditions without an event."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - engines have no events for their tests
            await asyncio.sleep(0.005)


@functools.cache
def hugging_face_model() -> Path:
    """Return a folder with the files of a model that vLLM would load. It has one tensor."""
    if vllm_stand_in.REAL_MODEL is not None:
        return Path(vllm_stand_in.REAL_MODEL)
    folder = tempfile.TemporaryDirectory(prefix="sluice-hf-")
    atexit.register(folder.cleanup)
    path = Path(folder.name)
    vllm_stand_in.make_model(path)
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return path


def settings_for(engine: str, **more: Any) -> Settings:
    """Return settings that are small enough for tests."""
    weights = hugging_face_model() if engine == "vllm" else WEIGHTS
    if engine == "vllm" and vllm_stand_in.REAL_MODEL is not None:
        more = {"dtype": "float32", "vllm_args": {"enforce_eager": True}, **more}
    return Settings(
        engine=engine,
        **{"model_dir": weights, "context_tokens": 256, "parallel": 4, "queue": 4, **more},
    )


@dataclass(frozen=True)
class Container:
    """A served application, with its client and engine."""

    client: httpx.AsyncClient
    generation: Generation
    engine: Any
    server: uvicorn.Server

    async def lines(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the records of a whole answer, without heartbeats."""
        answer = await self.client.post("/invocations", json=body)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines() if line]

    async def idle(self) -> None:
        """Wait until the engine has released every request."""
        await until(lambda: self.engine.active == 0)


LONG = 60.0
"""Seconds, for a script that uses the fixture `permits`."""

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Container]]


@contextlib.asynccontextmanager
async def serving(
    engine: str = "scripted", timing: Timing | None = None, **more: Any
) -> AsyncIterator[Container]:
    settings = settings_for(engine, **more)
    async with started(settings) as running:
        generation = Generation(running, settings)
        app = create_app(generation, settings.models, timing)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        limits = httpx.Limits(max_connections=None)
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits
            ) as client:
                yield Container(client, generation, running, server)
        finally:
            server.should_exit = True
            await task


_REAL: dict[str, Engine] = {}


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Engine]:
    """Yield a started engine, which is closed at the end.

    A real vLLM takes a minute to start. One with the same settings is used again, and ends with the
    process; the tests then share one event loop.
    """
    if settings.engine == "vllm" and vllm_stand_in.REAL_MODEL is not None:
        if (name := repr(settings)) not in _REAL:
            _REAL[name] = create(settings)
            await _REAL[name].start()
        yield _REAL[name]
        return
    engine = create(settings)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()
