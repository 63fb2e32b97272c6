"""The comparison of readers finds what is wrong, and nothing else."""

import pytest

from tests.chaos.readers import Reader, wrong


def reader(*numbers: int, ended: bool = True, refused: int | None = None) -> Reader:
    """Return a reader that has chunks with these numbers."""
    chunks = [(number, b"%d" % number) for number in numbers]
    return Reader("it", chunks, refused, ended)


WHOLE = reader(0, 1, 2)
FENCED = reader(0, 1, 2, 100_002)
REFUSED = reader(ended=False, refused=502)


@pytest.mark.parametrize(
    ("stored", "live", "others"),
    [
        (WHOLE, WHOLE, [WHOLE]),
        (FENCED, reader(0, 1, 2, 3, 4, 100_002), [FENCED]),
        (REFUSED, reader(0, 1, 2, 99_999), [REFUSED, reader(0)]),
    ],
)
def test_what_the_rules_allow(stored: Reader, live: Reader, others: list[Reader]) -> None:
    """All have what is stored. A live client may have what its killed function did not write."""
    assert wrong(stored, live, others) == []


@pytest.mark.parametrize(
    ("stored", "live", "others", "said"),
    [
        (WHOLE, reader(0, 1, 2, 3), [], "not stored"),
        (WHOLE, reader(0, 2), [], "lacks"),
        (WHOLE, reader(0, 1, 1, 2), [], "twice"),
        (WHOLE, reader(0, 1, 2, ended=False), [], "no terminal event"),
        (WHOLE, Reader("it", [(0, b"0"), (1, b"x"), (2, b"2")], None, True), [], "another text"),
        (FENCED, reader(0, 1, 2, 4, 100_002), [], "behind 3 stored chunks"),
        (FENCED, FENCED, [reader(0, 1, 2, 3, 100_002)], "not stored"),
        (reader(0, 2), reader(0, 2), [], "what is stored has the numbers"),
        (reader(0, 1, 100_002), reader(0, 1, 100_002), [], "the end has the number"),
    ],
)
def test_what_they_forbid(stored: Reader, live: Reader, others: list[Reader], said: str) -> None:
    """Each thing that is wrong is told."""
    assert said in " ".join(wrong(stored, live, others))
