"""Fixtures of the runtime."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.support.function import peer
from tests.support.loops import LOOPS
from tests.support.runtime_api import Lambda


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on each event loop that the setting `event_loop` offers."""
    return LOOPS


@pytest.fixture
async def lambda_() -> AsyncIterator[Lambda]:
    """Run a Runtime API."""
    state = Lambda()
    async with peer(state.handle) as origin:
        state.address = origin.removeprefix("http://")
        yield state
