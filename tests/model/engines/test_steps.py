"""Steps of a batch: the requests that end for a slow step, and the check for a stuck engine."""

from __future__ import annotations

import time

import pytest

from model.engines.steps import Sampling, Steps
from model.errors import InvalidRequestError


def test_slow_step() -> None:
    """The request with a grammar in a slow step ends at its next chunk.

    Other requests go on, and the time of all steps is recorded.
    """
    watched = Steps()
    seen: list[float] = []
    watched.observe = seen.append
    free, guided = watched.begin(), watched.begin(b"g")
    for each in (free, guided):
        watched.chunk(each, 1, 0.0)
    watched.chunk(free, 2, 10.0)
    watched.chunk(guided, 2, 10.0)

    watched.chunk(free, 3, 2510.0)
    with pytest.raises(InvalidRequestError, match=r"took 2\.\d s longer"):
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
    """One request ends for a slow step, in whatever order requests report it.

    It is the one whose grammar was slowest in its trial; of equal ones, the newest. If steps remain
    slow without it, the next one ends.
    """
    watched = Steps()
    running = [
        watched.begin(name, step) for name, step in ((b"a", 0.001), (b"b", 0.002), (b"c", 0.002))
    ]
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
    """A slow step that is reported late ends no request that came after the step."""
    watched = Steps()
    slow = watched.begin()
    watched.chunk(slow, 1, 0.0)
    slow.began -= 60
    later = watched.begin(b"g")
    watched.chunk(later, 1, 0.0)
    slow.prompts = watched._prompts

    watched.chunk(slow, 2, 5000.0)

    assert not ended(watched, later, 2, 10.0)


def test_prompt_in_the_step() -> None:
    """A step in which a prompt is read, begins or ends may be long."""
    watched = Steps()
    guided = watched.begin(b"g")
    watched.chunk(guided, 1, 0.0)
    other = watched.begin()
    watched.chunk(guided, 2, 5000.0)
    watched.chunk(other, 1, 0.0)
    watched.chunk(guided, 3, 10000.0)
    watched.end(watched.begin())
    watched.chunk(guided, 4, 15000.0)

    with pytest.raises(InvalidRequestError):
        watched.chunk(guided, 5, 20000.0)


def test_slow_model() -> None:
    """If steps are usually slow, the budget is a multiple of the usual time."""
    watched = Steps()
    guided = watched.begin(b"g")
    for number in range(200):
        watched.chunk(guided, number, number * 600.0)

    watched.chunk(guided, 200, 199 * 600.0 + 3000.0)


def test_several_tokens() -> None:
    """A chunk of several tokens counts as several steps."""
    watched = Steps()
    guided = watched.begin(b"g")
    watched.chunk(guided, 1, 0.0)

    watched.chunk(guided, 6, 4500.0)


def test_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is stuck if no answer progresses.

    It is not stuck while a prompt is read, or while all readers hold their answers back.
    """
    watched = Steps()
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def stuck() -> bool:
        return watched.stalled

    assert not stuck()
    running = watched.begin()
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
    now += 11
    assert stuck()
    watched.answered()
    assert not stuck()


def run(watched: Steps, each: Sampling, steps: list[float]) -> int:
    """Report steps. Return the number of steps before the request had to end, or of all steps."""
    tokens, milliseconds = each.tokens, each.milliseconds
    for number, seconds in enumerate(steps):
        tokens, milliseconds = tokens + 1, milliseconds + seconds * 1000
        if ended(watched, each, tokens, milliseconds):
            return number
    return len(steps)


def test_many_slow_steps() -> None:
    """Steps that are slow by less than the budget add up.

    They are compared with the time of a step without a grammar.
    """
    watched = Steps()
    watched.measured(0.001)
    slow = watched.begin(b"slow")
    watched.chunk(slow, 1, 0.0)

    assert run(watched, slow, [0.09] * 100) in (24, 25)  # 0.04 s each add up to 1 s
    watched.end(slow)
    fine = watched.begin(b"fine")
    watched.chunk(fine, 1, 0.0)
    assert run(watched, fine, [0.045] * 200) == 200
    assert run(watched, fine, [0.3, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001] * 50) == 350


def test_who_was_there() -> None:
    """All requests with the grammar of the slow steps end, and no later one with a larger grammar.

    A request that has run longer is not blamed for earlier slow steps.
    """
    watched = Steps()
    watched.measured(0.001)
    cause, again, long, later = (
        watched.begin(name, step) for name, step in ((b"c", 0), (b"c", 0), (b"l", 1), (b"x", 9))
    )
    for each in (cause, again, long):
        watched.chunk(each, 1, 0.0)
    long.slow = 0.0
    later.reading = False
    later.began = float("inf")
    cause.slow = again.slow = 0.5
    watched._slow = 0.5

    for number in range(2, 15):
        for each in (cause, again, long):
            if each.refused is None:
                ended(watched, each, number, number * 100.0)

    assert cause.refused
    assert again.refused
    assert not long.refused
    assert not later.refused
    assert long.slow < 0.5  # only the share since the others began


def test_slow_model_measured() -> None:
    """If a step without a grammar is slow, slow steps are compared with that time."""
    watched = Steps()
    watched.measured(0.4)
    guided = watched.begin(b"g")
    watched.chunk(guided, 1, 0.0)

    assert run(watched, guided, [1.5] * 50) == 50
