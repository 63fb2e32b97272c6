"""Fixtures for the container."""

import asyncio
from types import SimpleNamespace

import pytest

from model.engines import trials
from tests.support.model import LONG, Serve, serving


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the time limit of grammar trials, because the machine may be busy."""
    monkeypatch.setattr(trials, "WALL_SECONDS", 60.0)


@pytest.fixture
def permits(monkeypatch: pytest.MonkeyPatch) -> asyncio.Semaphore:
    """Return a semaphore that the scripted engine acquires in place of long waits."""
    made = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        if seconds < LONG / 2:
            await asyncio.sleep(seconds)
        else:
            await made.acquire()

    clockless = SimpleNamespace(sleep=sleep, get_running_loop=asyncio.get_running_loop)
    monkeypatch.setattr("model.engines.scripted.asyncio", clockless)
    return made


@pytest.fixture
def serve() -> Serve:
    """Return a function that serves an engine with settings and timing of the test.

    The default is the scripted engine.
    """
    return serving
