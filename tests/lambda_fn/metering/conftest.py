"""Fixtures: a request on a network that fails, at a fixed time."""

import time

import pytest

from lambda_fn import limits
from lambda_fn.stream.admit import Switch
from tests.support.one_request import START, Case


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    """Return a case at a fixed time."""
    monkeypatch.setattr(time, "time", lambda: START)
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    return Case()


@pytest.fixture(autouse=True)
def no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the read of the switch, so that only the meter's own calls are made."""
    monkeypatch.setattr(Switch, "is_due", False)
