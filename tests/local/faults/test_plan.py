"""The choice of the requests that a fault strikes."""

from typing import Any, get_args

import pytest

from local.faults.plan import KINDS, FaultError, Plan, Target, parse


def _struck(plan: Plan, requests: int = 200) -> list[tuple[int, int]]:
    faults = [(number, plan.strike("endpoint", "one")) for number in range(requests)]
    return [(number, strike.after) for number, strike in faults if strike]


def _plan(*faults: dict[str, Any]) -> Plan:
    plan = Plan()
    for fault in faults:
        plan.set(parse(fault))
    return plan


RESET = {"kind": "container-reset", "probability": 0.2, "seed": 7, "after": 10, "after_most": 900}


def test_the_seed_decides() -> None:
    """A seed strikes the same requests at the same places in each run.

    Another seed strikes others. The share is about the probability.
    """
    first = _struck(_plan(RESET))
    assert first == _struck(_plan(RESET))
    assert first != _struck(_plan({**RESET, "seed": 8}))
    assert 20 < len(first) < 60
    assert all(10 <= after <= 900 for _, after in first)
    assert len({after for _, after in first}) > 10


def test_faults_do_not_disturb_each_other() -> None:
    """A fault decides by its own seed alone, also when another fault strikes the request."""
    other = {"kind": "container-error", "probability": 0.5, "seed": 3}
    alone = [number for number, _ in _struck(_plan(RESET))]
    plan = _plan(other, RESET)
    _struck(plan)
    assert plan.listing()[1]["struck"] == len(alone)


def test_scope_and_count() -> None:
    """A fault strikes the names and calls in its scope, up to its count. The default is once."""
    plan = _plan({"kind": "table-down", "scope": "sluice-*", "operation": "Put*", "count": 2})
    assert plan.strike("table", "other", "PutItem") is None
    assert plan.strike("table", "sluice-a", "UpdateItem") is None
    assert plan.strike("function", "sluice-a") is None
    assert [bool(plan.strike("table", "sluice-a", "PutItem")) for _ in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    plan = _plan({"kind": "caller-killed-after", "containing": "SETTLED"})
    assert not plan.strike("table", "a", "UpdateItem", '{"state": "OPEN"}')
    assert plan.strike("table", "a", "UpdateItem", '{"state": "SETTLED"}')
    assert parse({"kind": "table-down"}).count == 1
    assert parse({"kind": "table-down", "probability": 1}).count is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ([], "object"),
        ({"kind": "flood"}, "The kinds are: one-byte-parts"),
        ({"kind": "container-kiled"}, "Did you mean container-killed?"),
        ({"kind": "table-slow", "probability": 1.5}, "probability"),
        ({"kind": "table-slow", "probability": "1"}, "probability"),
        ({"kind": "table-slow", "count": 0}, "count"),
        ({"kind": "table-slow", "count": True}, "count"),
        ({"kind": "table-slow", "after": 5, "after_most": 4}, "after_most"),
        ({"kind": "table-slow", "status": 200}, "status"),
        ({"kind": "table-slow", "seconds": -1}, "seconds"),
        ({"kind": "table-slow", "scope": ""}, "scope"),
        ({"kind": "table-slow", "often": 1}, "often"),
    ],
)
def test_an_invalid_fault(wrong: object, named: str) -> None:
    """An invalid description is rejected, and the message names the field."""
    with pytest.raises(FaultError, match=named):
        parse(wrong)


def test_every_kind_is_told_apart_by_its_place() -> None:
    """Each kind of fault strikes at one place only."""
    for kind, (target, _) in KINDS.items():
        plan = _plan({"kind": kind})
        places = get_args(Target)
        assert [place for place in places if plan.watches(place)] == [target]
