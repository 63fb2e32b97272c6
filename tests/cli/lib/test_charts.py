"""Rows of usage, as reports show them."""

from cli.lib import charts


def test_refused_requests_are_apart() -> None:
    """A report's requests are those of a key's totals, without rejected ones."""
    row = {"requests": 5, "outcomes": {"complete": 3, "refused": 2}}
    shown = charts.without_refused(row)
    assert (shown["requests"], shown["refused"]) == (3, 2)
    assert charts.without_refused({"requests": 1, "outcomes": {"cut": 1}})["refused"] == 0


def test_every_amount_but_none_is_visible() -> None:
    """A non-zero amount has a bar, however small it is beside the longest. Zero has none."""
    assert charts.bars([0, 1, 1_000_000], width=4) == ["", "▏", "████"]
    assert charts.bars([]) == []


def test_days_without_usage_are_rows_too() -> None:
    """The days between two rows are added with zeros."""
    row = {"requests": 1, "cost": "1"}
    rows = charts.every_day([{"day": "2026-11-20", **row}, {"day": "2026-11-22", **row}])
    assert [(it["day"], it["requests"], it["cost"]) for it in rows] == [
        ("2026-11-20", 1, "1"),
        ("2026-11-21", 0, "0"),
        ("2026-11-22", 1, "1"),
    ]
