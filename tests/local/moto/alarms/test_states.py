"""The state of an alarm by its data points: the tables of the CloudWatch user guide, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.moto.alarms.states import MORE, Missing, State, state

POINTS = {"0": False, "X": True, "-": None}
SHORT: dict[str, State | None] = {"O": "OK", "A": "ALARM", "I": "INSUFFICIENT_DATA", "R": None}
TREATMENTS: tuple[Missing, ...] = ("missing", "ignore", "breaching", "notBreaching")
THREE_OF_THREE = {
    "0-X-X": "OOOO",
    "0----": "OOOO",
    "-----": "IRAO",
    "0XX-X": "AAAA",
    "----X": "IRAO",
    "X----": "ARAO",
}
TWO_OF_THREE = {"0-X-X": "AAAA", "00X0X": "AAAA", "0-X--": "OOAO", "----0": "OOAO", "----X": "IRAO"}
"""Data points, oldest first, to the state for each treatment: OK, ALARM, insufficient, retained."""
TABLE = [
    (points, needed, treatment, SHORT[letter])
    for needed, rows in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
    for points, letters in rows.items()
    for treatment, letter in zip(TREATMENTS, letters, strict=True)
]


@pytest.mark.parametrize("current", ["OK", "ALARM", "INSUFFICIENT_DATA"])
@pytest.mark.parametrize(("points", "needed", "missing", "wanted"), TABLE)
def test_the_documented_tables(
    points: str, needed: int, missing: Missing, wanted: State | None, current: State
) -> None:
    """Each cell of both tables holds. Where the state is retained, it is any that it was."""
    assert len(points) == 3 + MORE
    found = state(
        [POINTS[point] for point in points],
        periods=3,
        needed=needed,
        missing=missing,
        current=current,
    )
    assert found == (wanted or current)


@given(
    points=st.lists(st.sampled_from([True, False, None]), min_size=5, max_size=5),
    needed=st.integers(1, 3),
    missing=st.sampled_from(TREATMENTS),
)
def test_real_data_decide_where_there_are_enough(
    points: list[bool | None], needed: int, missing: Missing
) -> None:
    """With enough real data points, the treatment of missing ones has no effect."""
    present = [point for point in points if point is not None]
    found = state(points, periods=3, needed=needed, missing=missing, current="OK")
    if len(present) >= 3:
        assert found == ("ALARM" if sum(present[-3:]) >= needed else "OK")
    elif sum(present) >= needed:
        assert found == "ALARM"
