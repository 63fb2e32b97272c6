"""The windows that contain a time, and their ends."""

import pytest

from lambda_fn.metering.windows import expired, window_end, windows_of

TIME = 1_798_761_545.0
"""2026-12-31T23:59:05 UTC: the last minute of a month and a year."""
END = 1_798_761_600


def test_windows_of_the_last_minute_of_a_year() -> None:
    """A time is in one window of each limit. In the last minute of a year, all end at midnight."""
    windows = windows_of(TIME)
    assert [(window.name, window.limit) for window in windows] == [
        ("requests#2026-12-31T23:59", "requests_minute"),
        ("tokens#2026-12-31T23:59", "tokens_minute"),
        ("tokens#2026-12-31", "tokens_day"),
        ("cost#2026-12-31", "cost_day"),
        ("tokens#2026-12", "tokens_month"),
        ("cost#2026-12", "cost_month"),
    ]
    assert {window.ends for window in windows} == {END}
    assert {window_end(window.name) for window in windows} == {END}


@pytest.mark.parametrize(("after", "count"), [(60, 0), (61, 2), (3600, 2), (3601, 6)])
def test_windows_expire_some_time_after_their_end(after: int, count: int) -> None:
    """A minute's window is kept for another minute, those of a day and a month for an hour."""
    assert len(expired([window.name for window in windows_of(TIME)], END + after)) == count
