"""Distributions in bounded memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.load.distribution import Distribution

VALUES = st.lists(st.tuples(st.floats(1e-6, 4000), st.integers(1, 20)), min_size=1, max_size=60)


@given(VALUES, st.floats(0, 1))
def test_a_percentile_is_exact_to_half_a_percent(
    values: list[tuple[float, int]], share: float
) -> None:
    """A percentile is near the value of that rank among all values, each with its weight."""
    distribution = Distribution()
    for value, weight in values:
        distribution.add(value, weight)
    ranked = sorted(it for value, weight in values for it in [value] * weight)
    exact = ranked[max(1, math.ceil(share * len(ranked))) - 1]
    assert distribution.percentile(share) == pytest.approx(exact, rel=0.0051)
    assert distribution.count == len(ranked)
    assert distribution.mean == pytest.approx(sum(ranked) / len(ranked))
    assert (distribution.minimum, distribution.maximum) == (ranked[0], ranked[-1])


def test_memory_is_bounded() -> None:
    """However many different values there are, there are some 2,300 buckets at most."""
    distribution = Distribution()
    for number in range(200_000):
        distribution.add(1e-7 * 1.0002**number % 7200)
    assert len(list(distribution.cumulative())) < 2400


def test_negative_values_count_as_zero() -> None:
    """A clock that was read in another order makes no figure negative."""
    distribution = Distribution()
    distribution.add(-0.001)
    assert distribution.percentile(1) == 0


def test_figures_are_milliseconds() -> None:
    """A report has milliseconds; without values there are none."""
    distribution = Distribution()
    assert distribution.figures() is None
    distribution.add(0.25)
    found = distribution.figures()
    assert found is not None
    assert (found["count"], found["min"], found["p50"], found["max"]) == (1, 250, 250, 250)
