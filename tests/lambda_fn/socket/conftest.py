"""Fixtures for the tests of sockets."""

from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.http.client import Client
from tests.support.asgi_sockets import Connect, connector
from tests.support.function import StandIn


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
