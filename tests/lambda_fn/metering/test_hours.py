"""UTC hours as text."""

import pytest

from lambda_fn.metering import hours


def test_hours() -> None:
    """Hours continue over the end of a day. A text that is no hour is an error."""
    assert list(hours.between("2026-12-31T22", "2027-01-01T01")) == [
        "2026-12-31T22",
        "2026-12-31T23",
        "2027-01-01T00",
    ]
    assert hours.days_between("2026-12-31T22", "2027-01-01T01") == ["2026-12-31", "2027-01-01"]
    for wrong in ("2026-12-31", "2026-12-31T24", "2026-12-31T1 ", "x" * 13, "２026-12-31T00"):  # noqa: RUF001 - a digit of another script
        with pytest.raises(ValueError, match=r"hour|time data|unconverted"):
            hours.begins(wrong)
