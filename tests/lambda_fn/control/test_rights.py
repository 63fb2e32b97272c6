"""The operations of each right."""

from typing import Any

import pytest
from starlette.types import ASGIApp

from lambda_fn import ids
from lambda_fn.control.app import PREFIX
from lambda_fn.control.auth import INVOKED
from lambda_fn.control.rights import OPERATIONS, RIGHTS, Right
from tests.support.admin import Admin, Make, through


@pytest.mark.parametrize("right", RIGHTS)
async def test_a_right_has_its_operations_and_no_other(
    admin: Admin, api: ASGIApp, right: Right
) -> None:
    """A right is denied every operation that it does not have, before the operation does anything.

    The denial is in the trail.
    """
    admin.services.right = right
    key_id = ids.new_key_id()
    body = {"name": "n", "since": "2026-11-20", "until": "2026-11-21", "lines": [], "keys": []}
    allowed, all_of_them = set(), set()
    async with through(api, admin, {INVOKED: True}, right) as client:
        for template, methods in admin.document["paths"].items():
            path = (
                template.removeprefix(PREFIX)
                .replace("{key_id}", key_id)
                .replace("{request_id}", "x")
            )
            for method, operation in methods.items():
                all_of_them.add(operation["operationId"])
                response = await client.request(method, path, json=body)
                if response.status_code != 403:
                    allowed.add(operation["operationId"])
                else:
                    assert response.json()["error"]["code"] == "right_missing"
    assert allowed == (all_of_them if right == "all" else OPERATIONS[right])
    refused = [item for item in admin.boto.scan()["Items"] if "#refused#" in item["sk"]]
    expected = [] if right == "all" else [(f"iam:{right}", "right_missing")]
    assert [(item["actor"], item["code"]) for item in refused] == expected


@pytest.mark.parametrize(
    "limits", [{"tokens_per_day": 5}, {"tokens_per_day": None}, {"concurrent_streams": 200}, {}]
)
async def test_who_makes_keys_sets_no_limits(
    admin: Admin, make: Make, limits: dict[str, Any]
) -> None:
    """With the right `keys` a key has the default limits.

    A 403 names the rights that may set others.
    """
    admin.services.right = "keys"
    key = await make()
    for call in (
        ("POST", "/keys", {"name": "n"}),
        ("PATCH", f"/keys/{key['id']}", {"owner": "b"}),
    ):
        error = await admin.refused(403, *call[:2], {**call[2], "limits": limits})
        assert (error["param"], error["code"]) == ("limits", "right_missing")
        assert all(f"'{right}'" in error["message"] for right in ("keys", "all", "budgets"))
    [listed] = (await admin.ok("GET", "/keys"))["data"]
    assert (listed["owner"], listed["limits"]) == ("", key["limits"])
    admin.services.right = "budgets"
    budget = await admin.ok("PATCH", f"/keys/{key['id']}/budget", {"tokens_per_day": 6})
    assert budget["tokens_per_day"]["limit"] == 6
