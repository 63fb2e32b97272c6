"""Fixtures: a started Runtime API."""

from collections.abc import AsyncIterator

import pytest

from tests.support.lambda_runtime import NAMED, Runtime


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """Yield a started runtime."""
    api = Runtime()
    api.port = await api.api.start()
    api.api.port = NAMED
    yield api
    await api.close()
