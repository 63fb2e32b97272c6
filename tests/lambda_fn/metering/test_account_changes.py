"""Changes of an account by an admin, on moto's DynamoDB.

They may be late, repeated, concurrent, or made at midnight.
"""

import time
from typing import Any

import msgspec
import pytest

from lambda_fn import ids
from lambda_fn.aws.dynamodb import ConditionFailed, Table, Update
from lambda_fn.errors import APIError
from lambda_fn.metering import account_changes, accounts, holds
from lambda_fn.metering.accounts import Account, Limits
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.metering.windows import UNLIMITED, windows_of
from lambda_fn.stream.admit import Gate
from tests.support.function import KEY, KEY_ID
from tests.support.network import Network, create_table
from tests.support.one_request import CALLER, START

LIMITS = Limits(requests_minute=1000, cost_day=10**9, cost_month=10**10)
MIDNIGHT = 1_796_083_200.0
"""The beginning of a day, and of a month."""


class Key:
    """An account, and operations on it."""

    def __init__(self) -> None:
        """Create the table."""
        self.table = Network().table("changes")
        create_table("changes")

    async def item(self) -> dict[str, Any]:
        """Return the account's item."""
        item = await self.table.get(account_key(KEY_ID))
        assert item is not None
        return item

    async def rotation(self, key: str, *, now: int, grace: int) -> Update:
        """Return a rotation of the account as it is."""
        return account_changes.rotate(await self.item(), ids.hash_key(key), now=now, grace=grace)

    async def change(self, *, now: float = START, **limits: int) -> Update:
        """Return a change of limits of the account as it is."""
        account = Account.of(await self.item())
        return account_changes.change_limits(
            account, msgspec.structs.replace(account.limits, **limits), now=now
        )

    async def reserve(self, *, at: float, key: str = KEY) -> None:
        """Place a hold for a request that may cost 400."""
        reservation = holds.HoldRequest(ids.new_request_id(at), 100, 400, "m")
        await self.table.update(holds.place(KEY_ID, ids.hash_key(key), reservation, now=int(at)))

    async def good(self, key: str, *, at: float) -> bool:
        """Return whether a secret is valid."""
        try:
            await self.reserve(at=at, key=key)
        except ConditionFailed:
            return False
        return True


def opening() -> Opening:
    """Return the opening of a new request of 100 tokens."""
    return Opening(ids.new_request_id(), KEY_ID, "m", 100, 5000, Prices(10, 100))


@pytest.fixture
async def key() -> Key:
    """Return a key."""
    new = Key()
    await new.table.put(accounts.new_account(KEY, name="n", now=1, limits=LIMITS))
    return new


async def test_a_late_rotation_brings_no_secret_back(key: Key) -> None:
    """A rotation that is carried out after a later change has no effect.

    A revoked secret stays revoked.
    """
    first, second = ids.new_key(KEY_ID), ids.new_key(KEY_ID)
    rotation = await key.rotation(first, now=int(START), grace=0)
    await key.table.update(rotation)
    await key.table.update(await key.rotation(second, now=int(START) + 1, grace=0))
    with pytest.raises(ConditionFailed):
        await key.table.update(rotation)
    assert [await key.good(secret, at=START + 2) for secret in (KEY, first, second)] == [
        False,
        False,
        True,
    ]


async def test_a_late_change_of_limits_undoes_nothing(key: Key) -> None:
    """A raised limit that is carried out after the limit was lowered has no effect."""
    await key.table.update(await key.change(cost_day=5))
    raised = await key.change(cost_day=10**9)
    await key.table.update(raised)
    await key.table.update(await key.change(cost_day=5))
    with pytest.raises(ConditionFailed):
        await key.table.update(raised)
    assert (await key.item())["cost_day"] == 5


async def test_a_change_of_limits_later_than_its_windows(key: Key) -> None:
    """A change of limits has no effect if the key was used in a window that begins long after it.

    Otherwise that window would keep what remained of the old limit.
    """
    await key.reserve(at=MIDNIGHT - 180)
    change = await key.change(now=MIDNIGHT - 180, cost_day=1000)
    await key.reserve(at=MIDNIGHT)
    with pytest.raises(ConditionFailed):
        await key.table.update(change)
    await key.table.update(await key.change(now=MIDNIGHT, cost_day=1000))
    assert await key.good(KEY, at=MIDNIGHT + 5)
    assert not await key.good(KEY, at=MIDNIGHT + 5)


async def test_a_rotation_made_again_leaves_the_secret_in_use(key: Key) -> None:
    """If a rotation with a lost response is repeated, the secret in use keeps its grace period."""
    lost, held = ids.new_key(KEY_ID), ids.new_key(KEY_ID)
    for number, secret in enumerate((lost, held)):
        await key.table.update(await key.rotation(secret, now=int(START) + number, grace=60))
    assert [await key.good(secret, at=START + 59) for secret in (KEY, lost, held)] == [
        True,
        True,
        True,
    ]
    assert [await key.good(secret, at=START + 60) for secret in (KEY, lost, held)] == [
        False,
        True,
        True,
    ]
    await key.table.update(await key.rotation(KEY, now=int(START) + 10, grace=0))
    assert [await key.good(secret, at=START + 11) for secret in (KEY, lost, held)] == [
        True,
        False,
        False,
    ]


async def test_secrets_in_grace_are_few(key: Key) -> None:
    """A key has a small maximum of older secrets.

    Expired ones, and a rotation without grace, make room.
    """
    for _ in range(account_changes.MAX_OLD_SECRETS):
        await key.table.update(await key.rotation(ids.new_key(KEY_ID), now=int(START), grace=60))
    with pytest.raises(account_changes.TooManySecrets):
        await key.rotation(KEY, now=int(START) + 1, grace=60)
    await key.rotation(KEY, now=int(START) + 1, grace=0)
    await key.table.update(await key.rotation(KEY, now=int(START) + 60, grace=60))
    assert len((await key.item())["old_secrets"]) == 1


@pytest.mark.parametrize("opened", ["before it was read", "after it was read"])
async def test_a_budget_lowered_at_midnight_holds(key: Key, opened: str) -> None:
    """A monthly budget that is lowered as the month begins holds for the whole month.

    It makes no difference whose clock opens the month's window.
    """
    change = None
    if opened == "after it was read":
        change = await key.change(now=MIDNIGHT - 0.01, cost_month=1000)
    await key.reserve(at=MIDNIGHT + 0.01)
    if change is not None:
        with pytest.raises(ConditionFailed):  # so that the account is read again
            await key.table.update(change)
    await key.table.update(await key.change(now=MIDNIGHT - 0.01, cost_month=1000))
    assert await key.good(KEY, at=MIDNIGHT + 5)
    assert not await key.good(KEY, at=MIDNIGHT + 5)


async def test_changes_of_an_idle_key_open_no_windows(key: Key) -> None:
    """The item of an unused key does not grow when its limits change."""
    for minute in range(5):
        await key.table.update(
            await key.change(now=START + 60 * minute, requests_minute=minute + 1, cost_day=minute)
        )
    assert (await key.item())["balance"] == {}


async def test_the_longest_change_is_short_enough(key: Key) -> None:
    """The longest change is within DynamoDB's 4 kB.

    It changes all limits at the end of a month, with every window open.
    """
    near = [
        window.name for seconds in range(-120, 121, 60) for window in windows_of(MIDNIGHT + seconds)
    ]
    account = msgspec.structs.replace(
        Account.of(await key.item()), balance=dict.fromkeys(near, 1), revision=9
    )
    change = account_changes.change_limits(account, Limits(*range(7)), now=MIDNIGHT)
    assert max(len(change.update), len(change.condition)) < 2000


async def test_changing_a_limit_in_mid_window(
    table: Table, items: Any, account: dict[str, str]
) -> None:
    """A changed limit counts at once, including earlier usage.

    The change is made only if the account is as it was read.
    """
    old, new = accounts.Limits(tokens_day=150), accounts.Limits(tokens_day=250, tokens_month=1000)
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, limits=old))
    gate = Gate(table)
    await gate.admit(CALLER, opening())
    item = await table.get(account)
    assert item is not None
    change = account_changes.change_limits(accounts.Account.of(item), new, now=time.time())
    await table.update(change)
    with pytest.raises(ConditionFailed):
        await table.update(change)
    await gate.admit(CALLER, opening())
    with pytest.raises(APIError, match="50 left of 250, this request may need 100"):
        await gate.admit(CALLER, opening())
    balance = items.get_item(Key=account)["Item"]["balance"]
    assert sorted(int(left) for name, left in balance.items() if name.startswith("tokens")) == [
        50,
        800,
        UNLIMITED - 200,
    ]
