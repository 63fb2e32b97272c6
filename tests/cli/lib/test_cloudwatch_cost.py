"""What CloudWatch's bill counts. `tests/infra/test_alarms_ring.py` counts what stacks have."""

import itertools
import json
import time

import pytest

from cli.lib.cloudwatch_cost import _members, bytes_a_request, counts
from infra.settings.deployment import DEV


def test_metrics_grow_with_models_and_vanish_without_the_setting() -> None:
    """Each model has its own metrics. Without the setting only the sweeper's are left."""
    other = json.dumps({"endpoint": "Other", "context_tokens": 100})
    one, two = counts(DEV), counts(DEV.replace(other_models={"other": other}))
    assert 12 < two.metrics - one.metrics < 20
    assert counts(DEV.replace(metrics=False)).metrics == 6
    assert bytes_a_request(DEV.replace(metrics=False)) == 0
    assert 1000 < bytes_a_request(DEV) < 2500


def test_the_size_of_a_line_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure in the line is measured, so a slow machine computes the same bill."""
    clock = itertools.count(1e5 / 3, 1 / 7)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert _members.__wrapped__() == _members()
