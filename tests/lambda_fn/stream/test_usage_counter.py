"""The pace of a response: the times between its tokens, as its client gets them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.errors import UpstreamFailed, UpstreamTimeout
from lambda_fn.events import Delta
from lambda_fn.stream.usage_counter import Pace, UsageCounter

START = 100.0
Write = tuple[float, int]


def paced(writes: list[Write]) -> dict[str, float]:
    """Return the figures of a response: each write is seconds after the last one, and tokens."""
    counter = UsageCounter()
    pace, now = Pace(counter), START
    for after, tokens in writes:
        now += after
        counter.count([Delta(delta=msgspec.Raw(b"{}"), tokens=tokens)] if tokens else [])
        pace.wrote(now)
    return pace.figures()


def exact(writes: list[Write], share: float) -> float:
    """Return the percentile of the times between tokens, computed from all of them."""
    times: list[float] = []
    gap, began = 0.0, False
    for after, tokens in writes:
        gap += after
        if tokens:
            times += [gap / tokens] * tokens if began else []
            gap, began = 0.0, True
    times.sort()
    return next(time for n, time in enumerate(times, 1) if n >= share * len(times))


@given(
    st.lists(st.tuples(st.floats(1e-5, 60.0), st.integers(0, 40)), min_size=2, max_size=60).filter(
        lambda writes: sum(tokens > 0 for _, tokens in writes) > 1
    )
)
def test_percentiles_are_near_the_truth(writes: list[Write]) -> None:
    """Percentiles are within 2 % of those of all times. Tokens are counted, not writes."""
    figures = paced(writes)
    for name, share in (("InterTokenP50", 0.5), ("InterTokenP95", 0.95)):
        assert figures[name] == pytest.approx(exact(writes, share), rel=0.02, abs=2e-6)
    later = sum(tokens for _, tokens in writes) - next(tokens for _, tokens in writes if tokens)
    first = next(number for number, (_, tokens) in enumerate(writes) if tokens)
    last = max(number for number, (_, tokens) in enumerate(writes) if tokens)
    seconds = sum(after for after, _ in writes[first + 1 : last + 1])
    assert figures["TokensPerSecond"] == pytest.approx(later / seconds, rel=1e-4, abs=0.01)
    assert figures["gen_ai.server.time_per_output_token"] == pytest.approx(
        seconds / later, rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("writes", [[], [(0.1, 0)], [(0.5, 3)], [(0.5, 3), (1.0, 0)]])
def test_without_a_second_write_there_is_no_pace(writes: list[Write]) -> None:
    """A response whose tokens came at once has no times between tokens."""
    assert paced(writes) == {"HeartbeatsBeforeFirstToken": 0}


def test_memory_does_not_grow_with_the_response() -> None:
    """A hundred thousand writes of many lengths take a bounded number of buckets."""
    counter = UsageCounter()
    pace, now = Pace(counter), START
    for number in range(100_000):
        counter.completion_tokens += 1
        now += 1e-4 * (1 + number % 997)
        pace.wrote(now)
    assert len(pace._buckets) < 32 * 11  # the times are within a factor of 2^10


def test_only_heartbeats_before_the_first_token_count() -> None:
    """Heartbeats between tokens are no sign of a slow start."""
    counter = UsageCounter()
    pace = Pace(counter)
    pace.beat()
    pace.beat()
    counter.count([Delta(delta=msgspec.Raw(b"{}"), tokens=1)])
    pace.beat()
    assert pace.heartbeats == 2


def test_the_first_error_stands() -> None:
    """What followed from an error does not replace it."""
    counter = UsageCounter()
    counter.note(UpstreamTimeout("late"))
    counter.note(UpstreamFailed("broken"))
    assert counter.error == (UpstreamTimeout, "upstream_timeout")
