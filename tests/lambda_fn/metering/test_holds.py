"""Captured holds: the amounts that are released, and the windows that are removed."""

import msgspec

from lambda_fn import ids
from lambda_fn.metering import accounts, holds, settlements
from lambda_fn.metering.accounts import NOTHING, Hold, Spend
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.windows import UNLIMITED, windows_of
from lambda_fn.stream.admit import Gate
from tests.support.function import KEY_ID
from tests.support.one_request import CALLER, COST, START, TRUTH, Case


async def test_nothing_is_given_back_to_windows_that_ended(case: Case) -> None:
    """A capture on the next day changes the balance of the month, not that of the day before."""
    admission = await case.begin()
    assert admission.entry is not None
    tomorrow = START + 3600
    await settlements.settle(case.table, case.opening, TRUTH, hold=admission.entry, now=tomorrow)
    item = await case.table.get(account_key(KEY_ID))
    assert item is not None
    account = accounts.Account.of(item)
    left = {window.limit: UNLIMITED - account.remaining(window) for window in windows_of(START)}
    assert (left["tokens_day"], left["tokens_month"], left["cost_month"]) == (100, 8, COST)


async def test_stale_windows_are_removed(case: Case) -> None:
    """The next capture removes expired windows. Current ones stay."""
    await case.close(await case.begin())
    later = msgspec.structs.replace(case.opening, request_id=ids.new_request_id(START + 90_000))
    case.opening, case.request_id = later, later.request_id
    admission = await Gate(case.table).admit(CALLER, later)
    assert admission.account is not None
    old = set(admission.account.balance) - {window.name for window in windows_of(START + 90_000)}
    assert len(old) == 4
    entry = admission.entry
    assert entry is not None
    release = holds.capture(
        KEY_ID, later.request_id, entry, NOTHING, now=START + 90_000, expired=sorted(old)
    )
    item = await case.table.update(release, return_item=True)
    assert set(item["balance"]) == {window.name for window in windows_of(START + 90_000)}


def test_a_release_is_never_too_long(case: Case) -> None:
    """With many expired windows, a capture stays within DynamoDB's 4 kB.

    It leaves the rest to the next capture.
    """
    minutes = [
        window.name for minute in range(150) for window in windows_of(START - 60 * minute)[:2]
    ]
    spend = Spend(1, 10**9, 10**9, 10**15)
    release = holds.capture(
        KEY_ID, case.request_id, Hold(1, 9, 9, "", "m"), spend, now=START, expired=sorted(minutes)
    )
    assert len(release.update) < 2000
    assert min(minutes) in release.names.values()
