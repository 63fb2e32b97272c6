"""Steps of a batch: which are judged, who ends for them, and when the engine is taken for stuck."""

from __future__ import annotations

import time

import pytest

from model.engines.steps import Sampling, Steps
from model.errors import InvalidRequestError


def test_slow_step() -> None:
    """The request with a grammar in a slow step ends at its next chunk; the others go on, and all are measured."""
    watched = Steps()
    seen: list[float] = []
    watched.observe = seen.append
    free, guided = watched.begin(guided=False), watched.begin(guided=True)
    for each in (free, guided):
        watched.chunk(each, 1, 0.0)
    watched.chunk(free, 2, 10.0)
    watched.chunk(guided, 2, 10.0)

    watched.chunk(free, 3, 2510.0)
    with pytest.raises(InvalidRequestError, match=r"took 2\.5 s"):
        watched.chunk(guided, 3, 2510.0)
    watched.chunk(free, 4, 2520.0)

    assert seen == pytest.approx([0.01, 0.01, 2.5, 2.5, 0.01])


def ended(watched: Steps, each: Sampling, tokens: int, milliseconds: float) -> bool:
    """Return whether this chunk ends its request."""
    try:
        watched.chunk(each, tokens, milliseconds)
    except InvalidRequestError:
        return True
    return False


@pytest.mark.parametrize("first", [0, 1, 2])
def test_suspect(first: int) -> None:
    """After a slow step one request ends, whichever reports it first: the one with the heaviest
    grammar, of equals the newest.

    If steps remain slow without it, the next one ends.
    """
    watched = Steps()
    running = [watched.begin(guided=True, weight=weight) for weight in (1, 2, 2)]
    for each in running:
        watched.chunk(each, 1, 0.0)
    order = running[first:] + running[:first]

    for each in order:
        ended(watched, each, 2, 2000.0)
    left = [each for each in order if not ended(watched, each, 3, 2010.0)]
    assert left == [each for each in order if each is not running[2]]

    watched.end(running[2])
    for each in left:
        watched.chunk(each, 4, 2020.0)
    for each in left:
        ended(watched, each, 5, 4020.0)
    assert [each for each in left if not ended(watched, each, 6, 4030.0)] == [running[0]]


def test_late_report() -> None:
    """A slow step that a slow reader's request reports late ends no request that came after it."""
    watched = Steps()
    slow = watched.begin(guided=False)
    watched.chunk(slow, 1, 0.0)
    slow.began -= 60
    later = watched.begin(guided=True)
    watched.chunk(later, 1, 0.0)
    slow.prompts = watched._prompts

    watched.chunk(slow, 2, 5000.0)

    assert not ended(watched, later, 2, 10.0)


def test_prompt_in_the_step() -> None:
    """A step in which a prompt is read, or has begun or ended to be, may be long."""
    watched = Steps()
    guided = watched.begin(guided=True)
    watched.chunk(guided, 1, 0.0)
    other = watched.begin(guided=False)
    watched.chunk(guided, 2, 5000.0)
    watched.chunk(other, 1, 0.0)
    watched.chunk(guided, 3, 10000.0)
    watched.end(watched.begin(guided=False))
    watched.chunk(guided, 4, 15000.0)

    with pytest.raises(InvalidRequestError):
        watched.chunk(guided, 5, 20000.0)


def test_slow_model() -> None:
    """Where steps usually are slow, the budget is a multiple of the usual one."""
    watched = Steps()
    guided = watched.begin(guided=True)
    for number in range(200):
        watched.chunk(guided, number, number * 600.0)

    watched.chunk(guided, 200, 199 * 600.0 + 3000.0)


def test_several_tokens() -> None:
    """A chunk that holds several tokens is as many steps."""
    watched = Steps()
    guided = watched.begin(guided=True)
    watched.chunk(guided, 1, 0.0)

    watched.chunk(guided, 6, 4500.0)


def test_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is stuck where no answer moves on, unless a prompt is read or all readers hold their answers back."""
    watched = Steps()
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def stuck() -> bool:
        return watched.stalled

    assert not stuck()
    running = watched.begin(guided=False)
    now += 60
    assert not stuck()
    watched.chunk(running, 1, 0.0)
    now += 9
    assert not stuck()
    with watched.held(running):
        now += 60
        assert not stuck()
    now += 11
    assert stuck()
    watched.chunk(running, 2, 11000.0)
    assert not stuck()
