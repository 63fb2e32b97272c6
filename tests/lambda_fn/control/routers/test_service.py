"""The endpoints that stop the service. tests/e2e/test_stop.py has their effect."""

from typing import Any

import pytest

from lambda_fn.metering.keys import SERVICE_KEY
from tests.support.admin import Admin


async def test_a_stop_is_noted_and_undone(admin: Admin, used: dict[str, Any]) -> None:
    """A stop has its time and reason, a second one another reason, and its end has neither."""
    before = await admin.ok("GET", "/stop")
    assert (before["stopped_at"], before["reason"]) == (None, None)
    for reason in ("One.", "Two."):
        state = await admin.ok("POST", "/stop", {"reason": reason, "drain": True})
        assert (state["stopped_at"] > 0, state["reason"]) == (True, reason)
    assert (await admin.ok("GET", "/stop"))["reason"] == "Two."
    after = await admin.ok("DELETE", "/stop")
    assert (after["stopped_at"], after["reason"], after["running"]) == (
        None,
        None,
        before["running"],
    )
    actions = [entry["action"] for entry in (await admin.ok("GET", "/audit"))["data"]]
    assert actions.count("stopService") == 2
    assert actions.count("resumeService") == 1
    assert SERVICE_KEY["pk"] not in str(actions)


@pytest.mark.parametrize("reason", ["", "x" * 201, "a\nb", 5])
async def test_a_reason_is_a_bounded_sentence(admin: Admin, reason: object) -> None:
    """An empty, long or unprintable reason is rejected, and stops nothing."""
    refused = await admin.refused(400, "POST", "/stop", {"reason": reason})
    assert refused["param"] == "reason"
    assert (await admin.ok("GET", "/stop"))["stopped_at"] is None
