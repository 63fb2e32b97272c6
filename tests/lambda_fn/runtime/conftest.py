"""Fixtures of the runtime."""

from collections.abc import AsyncIterator

import pytest

from tests.support.function import peer
from tests.support.runtime_api import Lambda


@pytest.fixture
async def lambda_() -> AsyncIterator[Lambda]:
    """Run a Runtime API."""
    state = Lambda()
    async with peer(state.handle) as origin:
        state.address = origin.removeprefix("http://")
        yield state
