"""The times of a schedule, and its rights."""

from datetime import UTC, datetime

import pytest

from local.lambda_.schedules import BadExpression, next_time

NOW = datetime(2026, 11, 21, 5, 7, 30, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(5 minutes)", datetime(2026, 11, 21, 5, 12, 30, tzinfo=UTC)),
        ("rate(1 hour)", datetime(2026, 11, 21, 6, 7, 30, tzinfo=UTC)),
        ("rate(1 day)", datetime(2026, 11, 22, 5, 7, 30, tzinfo=UTC)),
        ("at(2026-11-21T06:00:00)", datetime(2026, 11, 21, 6, 0, tzinfo=UTC)),
        ("at(2020-01-01T00:00:00)", None),
        ("cron(* * * * ? *)", datetime(2026, 11, 21, 5, 8, tzinfo=UTC)),
        ("cron(0/15 * * * ? *)", datetime(2026, 11, 21, 5, 15, tzinfo=UTC)),
        ("cron(0 3 * * ? *)", datetime(2026, 11, 22, 3, 0, tzinfo=UTC)),
        ("cron(30 2 1 JAN ? *)", datetime(2027, 1, 1, 2, 30, tzinfo=UTC)),
        ("cron(0 9 ? * MON-FRI *)", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
        ("cron(0 9 ? * 1,7 *)", datetime(2026, 11, 21, 9, 0, tzinfo=UTC)),
        ("cron(0 0 1 1 ? 2020)", None),
    ],
)
def test_next_time(expression: str, expected: datetime | None) -> None:
    """The next time of an expression is after now, or None."""
    assert next_time(expression, NOW) == expected


@pytest.mark.parametrize(
    "expression", ["", "rate(5)", "rate(1 week)", "cron(0 9 * *)", "cron(a b c d e f)"]
)
def test_bad_expressions(expression: str) -> None:
    """An invalid expression is an error."""
    with pytest.raises(BadExpression):
        next_time(expression, NOW)
