"""Writes of the audit trail's entries."""

from typing import Any, NoReturn

import pytest

from lambda_fn import ids
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.control.trail import Identity, Trail
from tests.support.admin import NOW, Admin, Make, entries, stored


async def test_entries_are_kept_for_their_time_and_never_written_over(
    admin: Admin, make: Make
) -> None:
    """Each item has the time at which DynamoDB removes it. A second put does not replace it."""
    await make()
    items = stored(admin)
    assert {int(item["ttl"]) for item in items} == {NOW + 400 * 86_400}
    assert {item["pk"] for item in items} == {"AUDIT#2026-11-21"}
    identity = Identity(items[0]["sk"].partition("#")[0], "iam:all", None, None)
    async with admin.services.trail.change(identity, "forged"):
        pass
    assert stored(admin) == items


async def test_environments_share_a_minute(admin: Admin) -> None:
    """Two environments that reject callers in the same minute leave one entry."""
    for _ in range(2):
        admin.services.__post_init__()  # a new environment
        await admin.services.trail.refused(
            Identity(ids.new_request_id(NOW), "unknown", None, None), "signIn", "x"
        )
    assert len(stored(admin)) == 1


async def test_noise_hides_no_refusal_of_another_kind(admin: Admin) -> None:
    """The first rejection in a minute of each actor and error has an entry.

    An entry of another function does not prevent it.
    """
    trails = [Trail(admin.services.table, days=1, now=lambda: NOW) for _ in range(3)]
    kinds = [
        ("unknown", "invalid_admin_secret"),
        ("unknown", "url_only"),
        ("iam:usage", "right_missing"),
    ]
    kinds.append(("iam:keys", "right_missing"))
    for trail in trails:
        for actor, code in kinds:
            for _ in range(5):
                await trail.refused(
                    Identity(ids.new_request_id(NOW), actor, None, None), "createKey", code
                )
    assert sorted((it["actor"], it["code"], int(it["attempts"])) for it in stored(admin)) == sorted(
        (*kind, 1) for kind in kinds
    )
    assert [it["outcome"] for it in await entries(admin)] == ["refused"] * len(kinds)


@pytest.mark.parametrize("away", ["minute taken", "no table"])
async def test_attempts_without_an_entry_are_in_the_next_one(admin: Admin, away: str) -> None:
    """Rejections without an entry are counted in the next entry.

    They lack one because of another environment or a failed write.
    """
    minute = NOW - NOW % 60
    moments = iter([minute, minute + 1, minute + 60])
    trail = Trail(admin.services.table, days=1, now=lambda: moment)
    first = Identity(ids.new_request_id(minute), "unknown", None, None)
    put = admin.services.table.put

    async def fail(*_: Any, **__: Any) -> NoReturn:
        raise MeterUnavailable

    if away == "no table":
        admin.services.table.put = fail  # type: ignore[method-assign]
    else:
        await Trail(admin.services.table, days=1, now=lambda: minute).refused(first, "signIn", "x")
    for moment in moments:
        if moment == minute + 60:
            admin.services.table.put = put  # type: ignore[method-assign]
        await trail.refused(
            Identity(ids.new_request_id(moment), "unknown", None, None), "signIn", "x"
        )
    last = max(stored(admin), key=lambda item: item["at"])
    assert (int(last["at"]), int(last["attempts"])) == (minute + 60, 3)
