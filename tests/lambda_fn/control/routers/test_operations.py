"""The endpoints that make rollups again and replay settlements."""

from typing import Any

from tests.support.admin import Admin


async def test_rollups_are_made_again(admin: Admin, used: dict[str, Any]) -> None:
    """Hours that are rolled again from the ledger stay the same. Too many or none are rejected."""
    hours = {"since": "2026-11-20", "until": "2026-11-21T06"}
    hours_rebuilt = (await admin.ok("POST", "/rollups/rebuild", hours))["data"]
    assert (
        sum(hour["rows"] for hour in hours_rebuilt),
        sum(hour["changed"] for hour in hours_rebuilt),
    ) == (3, 3)
    assert (
        sum(hour["changed"] for hour in (await admin.ok("POST", "/rollups/rebuild", hours))["data"])
        == 0
    )
    for since, until, param in (
        ("2026-11-21", "2026-11-20", "since"),
        ("2020-01-01", "2026-01-01", "until"),
        ("now", "then", "since"),
    ):
        error = await admin.refused(
            400, "POST", "/rollups/rebuild", {"since": since, "until": until}
        )
        assert error["param"] == param


async def test_replay_takes_lines_of_a_log(admin: Admin, used: dict[str, Any]) -> None:
    """Replay skips other lines, names malformed ones, and rejects too many at once."""
    report = await admin.ok(
        "POST", "/replay", {"lines": ["START", "{}", '{"event":"settlement_unsaved"}']}
    )
    assert (report["settled"], len(report["malformed"])) == (0, 1)
    assert (await admin.refused(400, "POST", "/replay", {"lines": ["x"] * 1001}))[
        "param"
    ] == "lines"
    assert (await admin.refused(400, "POST", "/replay", {"lines": "x"}))["param"] == "lines"
