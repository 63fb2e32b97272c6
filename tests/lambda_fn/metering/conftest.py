"""Fixtures: a request on a network that fails, at a fixed time."""

import time

import pytest

from lambda_fn import limits
from tests.support.one_request import START, Case


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    """Return a case at a fixed time."""
    monkeypatch.setattr(time, "time", lambda: START)
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    return Case()
