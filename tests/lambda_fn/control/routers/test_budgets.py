"""The endpoints of budgets."""

from lambda_fn import ids
from tests.support.admin import NOW, Admin, Make, reserve


async def test_a_raised_budget_gives_the_difference(admin: Admin, make: Make) -> None:
    """Raising a budget adds the difference to what remains, and lowering subtracts it.

    At least zero remains. What was spent stays spent.
    """
    key = await make(limits={"tokens_per_day": 150, "cost_per_month": "0.00000001"})
    path = f"/keys/{key['id']}/budget"
    await reserve(admin, key["secret"], ids.new_request_id(NOW), tokens=100, cost=4)
    budget = await admin.ok("GET", path)
    assert budget["tokens_per_day"] == {
        "limit": 150,
        "spent": 100,
        "left": 50,
        "resets_at": 1795305600,
    }
    assert budget["cost_per_month"]["left"] == "0.000000006"
    assert budget["tokens_per_month"] == {
        "limit": None,
        "spent": 100,
        "left": None,
        "resets_at": 1796083200,
    }
    budget = await admin.ok("PATCH", path, {"tokens_per_day": 200})
    assert (budget["tokens_per_day"]["spent"], budget["tokens_per_day"]["left"]) == (100, 100)
    assert budget["cost_per_month"]["limit"] == "0.00000001"
    budget = await admin.ok("PATCH", path, {"tokens_per_day": 60})
    assert (budget["tokens_per_day"]["spent"], budget["tokens_per_day"]["left"]) == (100, 0)
    budget = await admin.ok("PATCH", path, {"tokens_per_day": None})
    assert (budget["tokens_per_day"]["limit"], budget["tokens_per_day"]["spent"]) == (None, 100)
    listed = await admin.ok("GET", "/budgets")
    assert listed["data"] == [budget]
    assert (await admin.refused(400, "PATCH", path, {"requests_per_minute": 5}))[
        "param"
    ] == "requests_per_minute"
