"""Versions of the state: who waits for them, and how many changes make one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.moto import exchange
from local.moto.exchange import Exchange


def test_changes_make_one_version_until_someone_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are gathered however long. Who waits for a version has it sent on at once."""
    monkeypatch.setattr(exchange, "GATHER_S", 3600)
    found = Exchange()
    gathering = threading.Event()
    wait_for = found._condition.wait_for

    def watched(holds: Callable[[], bool], timeout: float) -> bool:
        if timeout == exchange.GATHER_S:
            gathering.set()
        return wait_for(holds, timeout)

    monkeypatch.setattr(found._condition, "wait_for", watched)
    with ThreadPoolExecutor(2) as threads:
        following = threads.submit(found.wait_newer, 1, 60)
        found.changed()
        assert gathering.wait(60)
        found.changed()
        assert not following.done()
        settled = threads.submit(found.settle, 60)
        assert following.result(60)
        found.report(2, {})
        assert not settled.done()
        found.report(3, {})
        assert settled.result(60)


def test_nothing_new() -> None:
    """Without a newer version, the wait ends after its time."""
    assert not Exchange().wait_newer(1, 0.001)
