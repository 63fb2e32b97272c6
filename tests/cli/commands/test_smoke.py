"""What `sluice smoke` makes of the times at which text came. The rest is in tests/e2e."""

import pytest

from cli.commands import smoke


@pytest.mark.parametrize(
    ("arrivals", "took", "whole", "good", "words"),
    [
        ([i * 0.05 for i in range(32)], 1.55, 1.7, True, "32 packets"),
        ([0.8] * 16 + [1.6] * 16, 0.8, 1.6, False, "2 packets"),
        ([1.6] * 32, 1.5, 1.6, False, "1 packets"),
        ([0.01] * 32, 0.01, 0.1, True, "too short to tell"),
        ([2.0] * 256, 0.01, 2.0, False, "at once"),
        ([2.0] * 32, 0.01, 2.0, True, "too short to tell"),
    ],
)
def test_held_back_text_is_told(
    arrivals: list[float], took: float, whole: float, good: bool, words: str
) -> None:
    """Text has to come as it is sampled; an answer that is too short to tell is not a failure."""
    step = smoke.unbuffered(arrivals, took=took, whole=whole)
    assert (step.good, words in step.seen) == (good, True), step
