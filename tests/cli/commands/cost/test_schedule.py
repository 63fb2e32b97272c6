"""The average of what a schedule keeps."""

import pytest

from cli.commands.cost.schedule import average_minimum
from infra.settings.endpoint import Plan


def average(*plans: tuple[str, int], otherwise: int = 1) -> float | None:
    """Return the average of plans, each an expression and a minimum."""
    return average_minimum([Plan(when, least, 9) for when, least in plans], otherwise)


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ([("cron(0 7 ? * MON-FRI *)", 8), ("cron(0 20 ? * * *)", 1)], (65 * 8 + 103) / 168),
        ([("cron(0 7 ? * 2-6 *)", 8), ("cron(0 20 * * ? *)", 1)], (65 * 8 + 103) / 168),
        ([("cron(0 0 ? * FRI-SUN *)", 3), ("cron(0 0 ? * mon *)", 0)], 9 / 7),
        ([("cron(0 6,18 * * ? *)", 2), ("cron(0 12/12 * * ? *)", 0)], 18 / 24 * 2),
        ([("cron(0 */12 * * ? *)", 2), ("cron(30 0/12 * * ? *)", 0)], 2 * 0.5 / 12),
        ([("cron(0 9 * * ? *)", 4)], 4),
        ([], 1),
        ([("at(2027-01-01T00:00:00)", 9)], 1),
        ([("cron(0 0 1 JAN,JUL ? *)", 2), ("cron(0 0 1 4,10 ? *)", 0)], pytest.approx(1, abs=0.05)),
    ],
)
def test_the_average_of_a_year(plans: list[tuple[str, int]], expected: float) -> None:
    """Days of the week count from Sunday, ranges may pass the end, a plan holds till the next."""
    assert average(*plans) == pytest.approx(expected)


@pytest.mark.parametrize(
    "when",
    [
        "rate(1 hour)",
        "cron(0 7 L * ? *)",
        "cron(0 7 ? * 2#1 *)",
        "cron(0 7 15W * ? *)",
        "cron(0 7 * * ?)",
        "cron(0 7 * * ? 2020)",
        "cron(0 7 29 2 ? *)",
        "cron(60 7 * * ? *)",
        "cron(0 7 * * FRY *)",
        "cron(0 7-x * * ? *)",
        "cron(0 */0 * * ? *)",
    ],
)
def test_what_is_not_read_is_not_guessed(when: str) -> None:
    """There is no average then."""
    assert average((when, 3)) is None
