"""Fixtures for the tests of sockets."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn

from lambda_fn.http.client import Client
from tests.support.asgi_sockets import Connect, connector
from tests.support.function import ORIGIN, StandIn


@pytest.fixture
def make_connect(
    moto_url: str, sagemaker: StandIn, http: Client, _patient: None
) -> Callable[..., Connect]:
    """Return a function that makes applications with other settings."""
    return lambda **changes: connector(moto_url, sagemaker, http, changes)


@pytest.fixture
def connect(make_connect: Callable[..., Any]) -> Connect:
    """Return a function that opens sockets."""
    connect: Connect = make_connect()
    return connect


@pytest.fixture
async def server(connect: Connect) -> AsyncIterator[str]:
    """Run the application in uvicorn, as behind a distribution, and yield host and port."""
    app = connect.app  # type: ignore[attr-defined]

    async def through_distribution(scope: Any, receive: Any, send: Any) -> None:
        added = [(b"x-sluice-origin-secret", ORIGIN.encode())]
        await app({**scope, "headers": [*scope["headers"], *added]}, receive, send)

    config = uvicorn.Config(
        through_distribution, port=0, log_level="warning", lifespan="off", ws_max_size=1_000_000
    )
    config.load()
    running = uvicorn.Server(config)
    running.lifespan = config.lifespan_class(config)
    await running.startup()
    yield f"127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    await running.shutdown()
