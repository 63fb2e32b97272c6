"""The endpoints of budgets."""

from typing import Any

from lambda_fn import ids
from lambda_fn.auth import Caller
from lambda_fn.metering import accounts, holds
from tests.support.admin import NOW, Admin, Make


def caller(secret: str) -> Caller:
    """Give who presents a key."""
    key_id = ids.key_id_of(secret)
    assert key_id is not None
    return Caller(key_id=key_id, key_hash=ids.hash_key(secret))


async def reserve(admin: Admin, secret: str, request_id: str, *, tokens: int = 100, cost: int = 5) -> Any:
    """Take a reservation for a request, as the stream function does."""
    who = caller(secret)
    reservation = holds.HoldRequest(request_id, tokens, cost, "demo")
    update = holds.place(who.key_id, who.key_hash, reservation, now=int(NOW))
    item = await admin.services.table.update(update, return_item=True)
    return accounts.Account.of(item).in_flight[request_id]


async def test_a_raised_budget_gives_the_difference(admin: Admin, make: Make) -> None:
    """What is spent stays spent: raising a budget adds to what is left, lowering takes away, down
    to nothing.
    """
    made = await make(limits={"tokens_per_day": 150, "cost_per_month": "0.00000001"})
    path = f"/keys/{made['id']}/budget"
    await reserve(admin, made["secret"], ids.new_request_id(NOW), tokens=100, cost=4)
    found = await admin.ok("GET", path)
    assert found["tokens_per_day"] == {"limit": 150, "spent": 100, "left": 50, "resets_at": 1795305600}
    assert found["cost_per_month"]["left"] == "0.000000006"
    assert found["tokens_per_month"] == {"limit": None, "spent": 100, "left": None, "resets_at": 1796083200}
    found = await admin.ok("PATCH", path, {"tokens_per_day": 200})
    assert (found["tokens_per_day"]["spent"], found["tokens_per_day"]["left"]) == (100, 100)
    assert found["cost_per_month"]["limit"] == "0.00000001"
    found = await admin.ok("PATCH", path, {"tokens_per_day": 60})
    assert (found["tokens_per_day"]["spent"], found["tokens_per_day"]["left"]) == (100, 0)
    found = await admin.ok("PATCH", path, {"tokens_per_day": None})
    assert (found["tokens_per_day"]["limit"], found["tokens_per_day"]["spent"]) == (None, 100)
    listed = await admin.ok("GET", "/budgets")
    assert listed["data"] == [found]
    assert (await admin.refused(400, "PATCH", path, {"requests_per_minute": 5}))["param"] == "requests_per_minute"
