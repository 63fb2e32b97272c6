"""The event loops of the HTTP client's tests."""

import asyncio
from collections.abc import Callable, Mapping

from tests.support.loops import LOOPS


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on each event loop that the setting `event_loop` offers."""
    return LOOPS
