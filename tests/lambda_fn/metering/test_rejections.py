"""The reasons for which an account rejects a request, on moto's DynamoDB."""

import time
from typing import Any

import msgspec
import pytest

from lambda_fn import ids
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import Table
from lambda_fn.errors import APIError
from lambda_fn.ids import new_request_id
from lambda_fn.metering import account_changes, accounts
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.stream.admit import Gate
from tests.support.function import KEY, KEY_ID

CALLER = Caller(KEY_ID, ids.hash_key(KEY))


PRICES = Prices(10, 100)


NOW = time.time()
"""The time in all request ids. It is fixed, so that no minute ends within a test."""


def opening(*, reserved: int = 100, cost: int = 5000) -> Opening:
    """Return the opening of a new request."""
    return Opening(new_request_id(NOW), KEY_ID, "m", reserved, cost, PRICES)


async def test_unknown_disabled_expired_replaced(
    table: Table, items: Any, account: dict[str, str]
) -> None:
    """No hold is placed for an unknown, wrong, disabled, expired or replaced key."""
    gate = Gate(table)

    async def code(caller: Caller = CALLER) -> str | None:
        with pytest.raises(APIError) as caught:
            await gate.admit(caller, opening())
        with pytest.raises(APIError) as again:
            await gate.check_key(caller)
        assert again.value.code == caught.value.code
        return caught.value.code

    def change(update: str, **values: Any) -> None:
        items.update_item(
            Key=account,
            UpdateExpression=update,
            ExpressionAttributeValues={f":{n}": v for n, v in values.items()},
        )

    assert await code(Caller("a" * 12, CALLER.key_hash)) == "invalid_api_key"
    assert await code(Caller(KEY_ID, "0" * 64)) == "invalid_api_key"
    change("SET enabled = :no", no=False)
    assert await code() == "key_disabled"
    assert await code(Caller(KEY_ID, "0" * 64)) == "invalid_api_key"
    change("SET enabled = :yes, expires = :then", yes=True, then=2)
    assert await code() == "key_expired"
    change("SET expires = :later", later=int(time.time()) + 60)
    item = await table.get(account)
    assert item is not None
    await table.update(account_changes.rotate(item, "1" * 64, now=int(time.time()), grace=60))
    await gate.check_key(CALLER)
    await gate.check_key(Caller(KEY_ID, "1" * 64))
    change("SET old_secrets = :old", old={CALLER.key_hash: 2})
    assert await code() == "key_replaced"
    assert items.get_item(Key=account)["Item"]["in_flight"] == {}


@pytest.mark.parametrize("limit", accounts.LIMIT_NAMES)
async def test_each_limit_alone(
    table: Table, items: Any, account: dict[str, str], limit: str
) -> None:
    """Each limit admits requests up to its last unit, and rejects the next with its own error."""
    maximum = {"requests": 3, "max": 3, "tokens": 300, "cost": 15_000}[limit.partition("_")[0]]
    items.put_item(
        Item=accounts.new_account(KEY, name="n", now=1, limits=accounts.Limits(**{limit: maximum}))
    )
    gate = Gate(table)
    for _ in range(3):
        await gate.admit(CALLER, opening())
    with pytest.raises(APIError) as caught:
        await gate.admit(CALLER, opening())
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.retry_after is not None
    assert "x-should-retry" not in caught.value.headers
    assert len(items.get_item(Key=account)["Item"]["in_flight"]) == 3


@pytest.mark.parametrize(
    "limit", [name for name in accounts.LIMIT_NAMES if name.endswith(("day", "month"))]
)
async def test_a_budget_is_spent_when_nobody_holds_it(
    table: Table, items: Any, account: dict[str, str], limit: str
) -> None:
    """While running requests hold a budget, the error allows a retry. A spent budget does not."""
    maximum = 300 if limit.startswith("tokens") else 15_000
    items.put_item(
        Item=accounts.new_account(KEY, name="n", now=1, limits=accounts.Limits(**{limit: maximum}))
    )
    gate = Gate(table)
    for _ in range(3):
        await gate.admit(CALLER, opening())
    items.update_item(
        Key=account,
        UpdateExpression="SET in_flight = :none",
        ExpressionAttributeValues={":none": {}},
    )
    with pytest.raises(APIError) as caught:
        await gate.admit(CALLER, opening())
    assert (caught.value.status, caught.value.code) == (429, "insufficient_quota")
    assert caught.value.retry_after is None
    assert caught.value.headers["x-should-retry"] == "false"


async def test_models_of_a_key(table: Table, items: Any, account: dict[str, str]) -> None:
    """A key with a list of models may use those. Others do not exist for it."""
    del account
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, models=["m", "other"]))
    gate = Gate(table)
    await gate.admit(CALLER, opening())
    with pytest.raises(APIError) as caught:
        await gate.admit(CALLER, msgspec.structs.replace(opening(), model="third"))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
